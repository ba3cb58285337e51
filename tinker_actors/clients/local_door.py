"""The `local:` door: an embedded server of the process's own, started on first use.

`local:` keeps its data in a temporary folder that goes with the server; `local:PATH` keeps them in PATH. Services with
the same address share the server; it stops with the last of them. It asks nobody for a key and gets none: neither this
process's own credentials, which are for another server, nor one that was passed.

Servers are started and stopped, and users counted, on one thread of the runtime's, one thing after the other. Whoever
comes or leaves only posts what he wants, and waits. So an interrupt (Ctrl-C) ends somebody's waiting and nothing else,
and a signal handler may come and leave while the call that it interrupted does the same.
"""

from __future__ import annotations

import itertools
import os
import queue
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import msgspec

from tinker_actors.config import CREDENTIALS, Config, resolve
from tinker_actors.loading import load
from tinker_actors.runtime.delivery import DeliveryThread
from tinker_actors.runtime.forks import finalize, on_fork
from tinker_actors.runtime.threads import on_own_thread

if TYPE_CHECKING:
    from tinker_actors.local.process import LocalServer

T = TypeVar("T")

SCHEME = "local:"

_numbers = itertools.count()


class _House(msgspec.Struct, eq=False):
    """A running server and who uses it.

    Attributes:
        server: the server.
        visits: numbers of the visits.
    """

    server: LocalServer
    visits: set[int]


_houses: dict[str, _House] = {}
"""The servers by address; for the keeper's thread."""

_keeper = DeliveryThread(name="local-door")


class Visit:
    """One user of the embedded server of an address, from `enter` to `leave` or to the end of this object.

    Args:
        address: `local:` or `local:PATH`.
    """

    def __init__(self, address: str) -> None:
        self._enter = partial(_enter, address, next(_numbers))
        self._leave = partial(_leave, *self._enter.args)
        finalize(self, _keeper.post, self._leave)

    def enter(self) -> str:
        """Return the server's URL, starting it if there is none. Only once.

        Raises:
            LocalServerError: the `local` extra is not installed, or the server did not start; the message holds what
                it said.
        """
        return _kept(self._enter)

    def leave(self, *, wait: bool) -> None:
        """End the visit; the last one's end stops the server. Does nothing the second time, or before `enter`.

        Args:
            wait: until that is done; on a thread of the runtime's own nobody waits.
        """
        if wait and not on_own_thread():
            _kept(self._leave)
        else:
            _keeper.post(self._leave)


def _enter(address: str, visit: int) -> str:
    house = _houses.get(address)
    if house is None:
        load("tinker_actors.local.process")
        from tinker_actors.local.process import LocalServer  # noqa: PLC0415 - the server is an extra

        house = _House(LocalServer(data_dir=address.removeprefix(SCHEME) or None).start(), set())
        _houses[address] = house
    house.visits.add(visit)
    return house.server.url


def _leave(address: str, visit: int) -> None:
    house = _houses.get(address)
    if house is None or visit not in house.visits:
        return
    house.visits.remove(visit)
    if not house.visits:
        try:
            house.server.stop()
        finally:
            del _houses[address]


def _kept(action: Callable[[], T]) -> T:
    """Have the keeper do something, and return or raise what comes of it."""
    outcome: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def act() -> None:
        try:
            outcome.put((action(), None))
        except BaseException as error:
            outcome.put((None, error))

    _keeper.post(act)
    value, error = outcome.get()
    if error is not None:
        raise error
    return value  # type: ignore[return-value]  # there is one, where there is no error


def visit_of(base_url: str | None) -> Visit | None:
    """Return a visit to the embedded server that an address asks for, not yet entered; None for another address."""
    return Visit(base_url) if base_url is not None and base_url.startswith(SCHEME) else None


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


def _forget_houses() -> None:
    _keeper.begin_anew()
    for house in _houses.values():
        house.server.forget()
    _houses.clear()


on_fork(_forget_houses)
