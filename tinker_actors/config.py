"""Configuration: one frozen record per client, resolved once, with unknown names refused.

What is given as an argument wins over the record, the record over the environment, the environment over the default.
The key is kept out of reprs and pickles.
"""

from __future__ import annotations

import base64
import functools
import os
from collections.abc import Iterator, Mapping
from typing import Any, Literal, cast
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from tinker_actors.errors import ConfigError, InvalidInputError
from tinker_actors.secrets import keep_out, secret
from tinker_actors.types.addresses import base_url as checked_base_url
from tinker_actors.types.addresses import check_proxy, hide_user, is_loopback
from tinker_actors.types.headers import FRAMING, header_problem
from tinker_actors.types.scalars import sendable_text, shown
from tinker_actors.types.spelling import SpelledMeta
from tinker_actors.wording import nearest

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


class Config(msgspec.Struct, metaclass=SpelledMeta, frozen=True, kw_only=True, forbid_unknown_fields=True, eq=False):
    """Settings of one `ServiceClient`. Times are in seconds, sizes in bytes.

    Attributes:
        base_url: the server, with its path prefix; environment `TINKER_BASE_URL`.
        api_key: the credential; environment `TINKER_API_KEY`. Not needed on loopback.
        project_id: project of new sessions; environment `TINKER_PROJECT_ID`.
        tags: tags of new sessions; environment `TINKER_TAGS`, comma-separated.
        default_headers: sent with every request: names and values as HTTP can carry them, Latin-1 at most. Those that
            say how a message travels, like `Host` and `Content-Length`, can't be among them.
        allow_plaintext_key: send the key over `http://` to a host that is not this machine.
        cafile: certificates to trust, a PEM file; default: the system's (`SSL_CERT_FILE` is honoured).
        proxy: URL of an HTTP proxy, `http://user:password@host:port`; default: the environment's (`HTTPS_PROXY`,
            `HTTP_PROXY`, `NO_PROXY`), except for loopback.
        connect_timeout: for DNS, TCP and TLS together.
        request_timeout: from handing a request over to its complete answer.
        poll_timeout: the same for asking for a result; servers hold such a request for about 30 s.
        creation_timeout: from asking for a session, model or sampler until the server has taken it; attempts and
            pauses that are under way then are ended. Also for what is asked about them.
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

    Raises:
        ConfigError: a value of another type or out of its range, or one that can't be sent or connected to. Keys,
            headers and proxies are not shown.
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
        for field in _fields(type(self)):
            msgspec.structs.force_setattr(self, field.name, self._converted(field))
        for name in _POSITIVE:
            value = getattr(self, name)
            most = _LONGEST if isinstance(value, float) else _LARGEST
            if value is not None and not 0 < value <= most:
                what = "greater than 0" if not value > 0 else f"at most {most:g}"
                raise ConfigError(f"{name} must be {what}, not {shown(value)}.")
        if self.api_key is not None:
            check_key(self.api_key)
        _check_headers(self.default_headers)
        if self.proxy is not None:
            check_proxy(self.proxy)
        for name in ("project_id", "cafile", "tags"):
            _check_sendable(name, getattr(self, name))

    def _converted(self, field: msgspec.structs.FieldInfo) -> Any:
        """Return a field's value in its type. Without a name of its own, lest a crash report shows it."""
        try:
            converted = msgspec.convert(getattr(self, field.name), field.type)
        except msgspec.ValidationError as error:  # it tells the types, not the value
            raise ConfigError(f"{field.name}: {error}.") from None
        if field.name == "default_headers":
            return {name: secret(each) for name, each in converted.items()}
        if field.name == "base_url":
            return hide_user(converted)
        return secret(converted) if field.name in _SECRET else converted

    def __repr__(self) -> str:
        return f"Config({', '.join(f'{name}={value!r}' for name, value in self.__rich_repr__())})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        """Return what may be shown, for this class's own repr and for rich's."""
        return [(name, getattr(self, name)) for name in self.__struct_fields__ if name not in _SECRET]

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


# Seconds, thirty years, which all systems' timers can wait; and what numbers of bytes and pieces may be.
_LONGEST = 1e9
_LARGEST = 2**62


@functools.cache
def _fields(kind: type[Config]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Return a config's fields. Kept: reading the annotations takes twenty times as long as all the checks."""
    return msgspec.structs.fields(kind)


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
    known = _variables(os.environ if env is None else env)
    misspelt = _misspelt(os.environ if env is None else env)
    env = None  # a crash report that shows this frame must show neither the environment nor the key
    config = config or Config()
    api_key = secret(api_key or config.api_key or known["TINKER_API_KEY"])
    base_url = hide_user(base_url)
    if api_key is not None:
        check_key(api_key)
    url = hide_user(base_url or config.base_url or known["TINKER_BASE_URL"])
    if url is None:
        if api_key is None:
            raise ConfigError(f"{_NOWHERE_TO_GO}{misspelt}")
        url = DEFAULT_BASE_URL
    if config.cafile is not None and not os.path.exists(config.cafile):  # noqa: PTH110 - pathlib is not loaded for this
        raise ConfigError(f"The certificates {config.cafile!r} that cafile names are not there.")
    url = checked_base_url(url)
    _check_reach(urlsplit(url), api_key, config, misspelt)
    tags = tuple(dict.fromkeys(tag.strip() for tag in (known["TINKER_TAGS"] or "").split(",") if tag.strip()))
    resolved = msgspec.structs.replace(
        config,
        base_url=url,
        api_key=api_key,
        project_id=project_id or config.project_id or known["TINKER_PROJECT_ID"],
        tags=config.tags or tags,
        default_headers=_with_cloudflare(config.default_headers, known),
    )
    for held in _credentials(resolved):
        keep_out(held)
    return resolved


_VARIABLES = ("TINKER_API_KEY", "TINKER_BASE_URL", "TINKER_PROJECT_ID", "TINKER_TAGS", *_CLOUDFLARE.values())
# A header with such a name carries a credential; with another one its value may be a word of everyday use.
_TELLING_NAMES = ("auth", "key", "token", "secret", "password", "cookie", "credential")


def _variables(env: Mapping[str, str]) -> dict[str, Any]:
    """Return the variables that count, and what is secret among them as secrets; empty ones are not there."""
    plain = ("TINKER_BASE_URL", "TINKER_PROJECT_ID", "TINKER_TAGS")
    return {name: (env.get(name) if name in plain else secret(env.get(name))) or None for name in _VARIABLES}


def _misspelt(env: Mapping[str, str]) -> str:
    """Return what to say of variables that look like ours and are none; their values are not looked at."""
    meant = {name: nearest(name, _VARIABLES) for name in env if name.startswith("TINKER") and name not in _VARIABLES}
    return "".join(f" {name} is set, which nothing reads: did you mean {one}?" for name, one in meant.items() if one)


def _with_cloudflare(headers: Mapping[str, str], known: Mapping[str, Any]) -> dict[str, str]:
    """Return headers with those of the environment; whoever gives one of these names himself has his own."""
    given = {name.lower() for name in headers}
    for header, variable in _CLOUDFLARE.items():
        if known[variable] is not None and (problem := header_problem(header, known[variable])):
            raise ConfigError(f"The header {header!r} of {variable} {problem}.")
    added = {header: known[name] for header, name in _CLOUDFLARE.items() if known[name] and header.lower() not in given}
    return {**added, **headers}


def _credentials(config: Config) -> Iterator[str]:
    """Yield what a server or proxy may repeat and nobody shall read."""
    if config.api_key is not None:
        yield config.api_key
    for name, value in config.default_headers.items():
        if any(word in name.lower() for word in _TELLING_NAMES):
            yield value
    yield from proxy_credentials(config.proxy)


def proxy_credentials(proxy: str | None) -> Iterator[str]:
    """Yield the password in the URL of a proxy, and the header that carries it."""
    parts = urlsplit(proxy or "")
    if parts.password:
        yield unquote(parts.password)
        yield base64.b64encode(f"{unquote(parts.username or '')}:{unquote(parts.password)}".encode()).decode()


def _check_headers(headers: Mapping[str, str]) -> None:
    seen: set[str] = set()
    for name in headers:
        problem = header_problem(name, headers[name])
        if problem is None and name.lower() in FRAMING:
            problem = "says how a message travels, which is for the client to say"
        if problem is None and name.lower() in seen:
            problem = "is there twice, in different letters"
        if problem is not None:
            raise ConfigError(f"The header {name!r} of default_headers {problem}.")
        seen.add(name.lower())


def _check_sendable(name: str, value: str | tuple[str, ...] | None) -> None:
    try:
        for text in value if isinstance(value, tuple) else (value,):
            if text is not None:
                sendable_text(text, name)
    except InvalidInputError as error:
        raise ConfigError(error.message) from None


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


def _check_reach(parts: SplitResult, key: str | None, config: Config, misspelt: str) -> None:
    """Check that key, proxy and server go together; `misspelt` is said where the key is missing."""
    if config.proxy is not None:
        check_proxy(config.proxy, parts.scheme)
    assert parts.hostname is not None
    if is_loopback(parts.hostname):
        return
    if key is None:
        raise ConfigError(
            f"There is no API key for {parts.hostname}. Set TINKER_API_KEY, or pass api_key=; only servers on this "
            f"machine are asked without one.{misspelt}"
        )
    if parts.scheme == "http" and not config.allow_plaintext_key:
        raise ConfigError(
            f"The key would go to {parts.hostname} unencrypted. Use https://, or Config(allow_plaintext_key=True) if "
            f"the network between is yours."
        )
