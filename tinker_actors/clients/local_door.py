"""The `local:` door: an embedded server of the process's own, started on first use.

`local:` keeps its data in a temporary folder that goes with the server; `local:PATH` keeps them in PATH. Services with
the same address share the server; it stops with the last of them. It asks nobody for a key and gets none: neither this
process's own credentials, which are for another server, nor one that was passed.
"""

from __future__ import annotations

import os
import threading
from typing import Any

import msgspec

from tinker_actors.config import CREDENTIALS, Config, resolve
from tinker_actors.runtime.forks import on_fork

SCHEME = "local:"

_servers: dict[str, tuple[Any, list[None]]] = {}  # each with an entry for each user
_guard = threading.RLock()  # a signal handler may come in while a server is being started


def is_local(base_url: str | None) -> bool:
    """Return whether an address asks for an embedded server."""
    return base_url is not None and base_url.startswith(SCHEME)


def resolve_keyless(
    config: Config | None,
    *,
    base_url: str | None,
    api_key: str | None,
    project_id: str | None,
) -> Config:
    """Return the config for talking to an embedded server: like `config.resolve`, but without credentials.

    Raises:
        ConfigError: see `config.resolve`.
    """
    keyless = msgspec.structs.replace(config or Config(), api_key=None)
    del api_key  # that is the point; nor must a crash report with locals show it
    return resolve(
        keyless,
        base_url=base_url,
        project_id=project_id,
        env={name: value for name, value in os.environ.items() if name not in CREDENTIALS},
    )


def enter(address: str) -> str:
    """Return the URL of the embedded server for `address`, starting it if there is none, and count one more user.

    Raises:
        ImportError: the `local` extra is not installed.
        RuntimeError: the server did not start; the message holds what it said.
    """
    with _guard:
        if address not in _servers:
            from tinker_actors.local.process import LocalServer  # noqa: PLC0415 - the server is an extra

            started = LocalServer(data_dir=address.removeprefix(SCHEME) or None).start()
            if _servers.setdefault(address, (started, []))[0] is not started:  # a handler was quicker
                started.stop()
        server, users = _servers[address]
        users.append(None)
        return str(server.url)


def leave(address: str) -> None:
    """Count a user out; the last one stops the server. Does nothing when there is none."""
    with _guard:
        server, users = _servers.get(address, (None, []))
        if server is None:
            return
        users.pop()
        if users:
            return
        _servers.pop(address, None)
    server.stop()


def _forget_servers() -> None:
    global _guard  # noqa: PLW0603 - somebody may have held it when the process was forked
    _guard = threading.RLock()
    for server, _ in _servers.values():
        server.forget()
    _servers.clear()


on_fork(_forget_servers)
