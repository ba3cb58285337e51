"""Configuration: one frozen record per client, resolved once, with unknown names refused.

What is given as an argument wins over the record, the record over the environment, the environment over the default.
The key is kept out of reprs and pickles.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from typing import Any, Literal, cast
from urllib.parse import SplitResult, urlsplit

import msgspec

from tinker_actors.errors import ConfigError

_CLOUDFLARE = {
    "CF-Access-Client-Id": "CLOUDFLARE_ACCESS_CLIENT_ID",
    "CF-Access-Client-Secret": "CLOUDFLARE_ACCESS_CLIENT_SECRET",
}

CREDENTIALS = frozenset({"TINKER_API_KEY", *_CLOUDFLARE.values()})
"""Environment variables that are for the server that the environment names, and nobody else."""

DEFAULT_BASE_URL = "https://tinker.thinkingmachines.dev/services/tinker-prod"

_NOWHERE_TO_GO = (
    "There is no server to talk to. Set TINKER_API_KEY to use the hosted service, TINKER_BASE_URL (or base_url=) "
    "for another server, pass base_url='local:' to start the embedded server, or run `tinker-actors serve` and pass "
    "the address it prints."
)


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, eq=False):
    """Settings of one `ServiceClient`. Times are in seconds, sizes in bytes.

    Attributes:
        base_url: the server, with its path prefix; environment `TINKER_BASE_URL`.
        api_key: the credential; environment `TINKER_API_KEY`. Not needed on loopback.
        project_id: project of new sessions; environment `TINKER_PROJECT_ID`.
        tags: tags of new sessions; environment `TINKER_TAGS`, comma-separated.
        default_headers: sent with every request.
        allow_plaintext_key: send the key over `http://` to a host that is not this machine.
        cafile: certificates to trust, a PEM file; default: the system's (`SSL_CERT_FILE` is honoured).
        proxy: URL of a proxy; default: the environment's (`HTTPS_PROXY`, `HTTP_PROXY`,
            `NO_PROXY`), except for loopback.
        connect_timeout: for DNS, TCP and TLS together.
        request_timeout: from handing a request over to its complete answer.
        poll_timeout: the same for asking for a result; servers hold such a request for about 30 s.
        creation_timeout: how long creating a session, model or sampler is retried when the network fails.
        heartbeat_interval: between two heartbeats of a session.
        heartbeat_timeout: for one heartbeat.
        silence_limit: when heartbeats stay unanswered for this long, the session counts as lost.
        liveness_limit: an operation of which the server gave no sign for this long fails with `StalledError`.
        max_connections: connections per lane: for polls and requests of samples, of training, and for the rest each.
            Services with equal settings share their lanes, and so these connections.
        max_submits: sample requests being submitted at a time.
        throttled_submits: the same for 10 s after the server asked to slow down.
        dispatch_bytes: estimated bytes of sample requests being submitted at a time.
        queue_bytes: encoded sample requests held here, from the call until the result is there. When it is full,
            `sample()` waits; in a thread with a running event loop the future waits instead, up to twice as much.
        max_block: how long `sample()` waits for room before it raises `QueueFullError`.
        response_bytes: results being fetched at a time of which the server told the size beforehand.
        adaptive_limit: find out how many samples the server takes at a time, from its 429s and queue states.
        use_retrieve_futures: hear of finished samples over one connection per sampler; default: where the server
            offers it.
        dialect: `"json"` or `"protobuf"` for what is sent to train; default: found out from the server's answers.
        max_chunk_len: datums in one request; default: what the server says, else 1,024.
        max_chunk_bytes: estimated bytes in one request; default: what the server says, else 5,000,000.
        server_orders: whether the server executes by `seq_id` and repeats answers to resent requests; default: found
            out from its ids. Without it, operations are sent one at a time and, but for `forward`, never resent.
        on_step_failure: `"stop"` fails what was called behind a failed gradient, step or restore before you were told
            of it, `"continue"` does it all the same, as the official SDK does.
        seed: seeds the jitter of retries; default: drawn from the system.
    """

    base_url: str | None = None
    api_key: str | None = None
    project_id: str | None = None
    tags: tuple[str, ...] = ()
    default_headers: dict[str, str] = msgspec.field(default_factory=dict)
    allow_plaintext_key: bool = False
    cafile: str | None = None
    proxy: str | None = None
    connect_timeout: float = 5.0
    request_timeout: float = 60.0
    poll_timeout: float = 45.0
    creation_timeout: float = 60.0
    heartbeat_interval: float = 10.0
    heartbeat_timeout: float = 10.0
    silence_limit: float = 600.0
    liveness_limit: float = 600.0
    max_connections: int = 1000
    max_submits: int = 400
    throttled_submits: int = 10
    dispatch_bytes: int = 10 * 1024 * 1024
    queue_bytes: int = 256 * 1024 * 1024
    max_block: float = 30.0
    response_bytes: int = 50 * 1024 * 1024
    adaptive_limit: bool = True
    use_retrieve_futures: bool | None = None
    dialect: Literal["json", "protobuf"] | None = None
    max_chunk_len: int | None = None
    max_chunk_bytes: int | None = None
    server_orders: bool | None = None
    on_step_failure: Literal["stop", "continue"] = "stop"
    seed: int | None = None

    def __post_init__(self) -> None:
        for field in msgspec.structs.fields(self):
            try:
                value = msgspec.convert(getattr(self, field.name), field.type)
            except msgspec.ValidationError as error:  # it tells the types, not the value
                raise ConfigError(f"{field.name}: {error}.") from None
            msgspec.structs.force_setattr(self, field.name, value)
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(f"{name} must be greater than 0, not {value!r}.")
        if self.api_key is not None:
            check_key(self.api_key)

    def __repr__(self) -> str:
        shown = {f: getattr(self, f) for f in self.__struct_fields__ if f not in _SECRET}
        return f"Config({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def __copy__(self) -> Config:
        """Return the config itself: it is frozen."""
        return self

    def __deepcopy__(self, _: dict[int, Any]) -> Config:
        """Return the config itself: it is frozen."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without credentials; the other side takes its own from its environment."""
        public = {f: getattr(self, f) for f in self.__struct_fields__ if f not in _SECRET}
        return (_rebuild, (public,))

    @property
    def url(self) -> SplitResult:
        """The base URL in parts. Only on a resolved config."""
        return urlsplit(cast("str", self.base_url))


_SECRET = {"api_key", "default_headers", "proxy"}
_POSITIVE = (
    "connect_timeout", "request_timeout", "poll_timeout", "creation_timeout", "heartbeat_interval",
    "heartbeat_timeout", "silence_limit", "liveness_limit", "max_connections", "max_submits", "throttled_submits",
    "dispatch_bytes", "queue_bytes", "max_block", "response_bytes", "max_chunk_len", "max_chunk_bytes",
)  # fmt: skip


def _rebuild(fields: dict[str, Any]) -> Config:
    return Config(**fields)


def resolve(
    config: Config | None = None,
    *,
    base_url: str | None = None,
    api_key: str | None = None,
    project_id: str | None = None,
    env: Mapping[str, str] | None = None,
) -> Config:
    """Return a config with server, key and project filled in.

    Args:
        config: settings to start from; default: all defaults.
        base_url: wins over `config.base_url` and `TINKER_BASE_URL`. Empty counts as not given.
        api_key: wins over `config.api_key` and `TINKER_API_KEY`.
        project_id: wins over `config.project_id` and `TINKER_PROJECT_ID`.
        env: the environment; default: the process's.

    Raises:
        ConfigError: no server can be found out, a URL without scheme or host or with a port that is none, a key that
            can't be a header, or a key that would cross the network unencrypted.
    """
    env = os.environ if env is None else env
    config = config or Config()
    key = api_key or config.api_key or env.get("TINKER_API_KEY") or None
    url = base_url or config.base_url or env.get("TINKER_BASE_URL") or None
    if url is None:
        if key is None:
            raise ConfigError(_NOWHERE_TO_GO)
        url = DEFAULT_BASE_URL
    if config.cafile is not None and not os.path.exists(config.cafile):  # noqa: PTH110 - pathlib is not loaded for this
        raise ConfigError(f"The certificates {config.cafile!r} that cafile names are not there.")
    url = url.rstrip("/")
    _check_url(url, key, config)
    tags = config.tags or tuple(dict.fromkeys(t.strip() for t in env.get("TINKER_TAGS", "").split(",") if t.strip()))
    headers = {**_cloudflare(env), **config.default_headers}
    return msgspec.structs.replace(
        config,
        base_url=url,
        api_key=key,
        project_id=project_id or config.project_id or env.get("TINKER_PROJECT_ID") or None,
        tags=tags,
        default_headers=headers,
    )


def check_key(key: str) -> None:
    """Refuse a key that can't be sent in a header. The key itself is not repeated in the message.

    Raises:
        ConfigError: it holds a newline, other control characters, spaces or non-ASCII characters.
    """
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(
            "The API key holds a newline, a space or another character that can't be sent in a header. Was it read "
            "from a file without stripping?"
        )


def _check_url(url: str, key: str | None, config: Config) -> None:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises where it is no port
    except ValueError as error:
        raise ConfigError(f"The base URL {url!r} can't be read: {error}.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"The base URL {url!r} needs a scheme and a host, like http://127.0.0.1:8000 or https://...")
    if parts.username or parts.password:
        raise ConfigError("The base URL holds a user name or password; pass the key as api_key instead.")
    if is_loopback(parts.hostname):
        return
    if key is None:
        raise ConfigError(f"No API key for {parts.hostname}. {_NOWHERE_TO_GO}")
    if parts.scheme == "http" and not config.allow_plaintext_key:
        raise ConfigError(
            f"The key would go to {parts.hostname} unencrypted. Use https://, or Config(allow_plaintext_key=True) if "
            f"the network between is yours."
        )


def is_loopback(host: str) -> bool:
    """Return whether `host` is this machine: `localhost` or a loopback address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _cloudflare(env: Mapping[str, str]) -> dict[str, str]:
    return {header: env[name] for header, name in _CLOUDFLARE.items() if env.get(name)}
