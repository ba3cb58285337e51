"""Connecting to a host that has several addresses: the next one is tried beside the last when that takes long.

A dead address of a host that has another (IPv6 that leads nowhere, as a rule) costs a quarter of a second, as
RFC 8305 has it ("happy eyeballs"). Blocking; runs on connector threads only.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import time
from collections import deque
from collections.abc import Sequence
from itertools import chain, zip_longest
from typing import Any

# Seconds until the next address is tried beside those that have not answered (RFC 8305, section 5).
_DELAY = 0.25
# No descriptor of its own, and no limit on their numbers.
_Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)

Address = tuple[int, int, int, str, Any]
"""As `socket.getaddrinfo` gives it: family, type, protocol, canonical name, address."""


def interleaved(addresses: Sequence[Address]) -> list[Address]:
    """Return addresses with their families in turn, each in its order, beginning with that of the first."""
    families: dict[int, list[Address]] = {}
    for address in addresses:
        families.setdefault(address[0], []).append(address)
    return [address for address in chain(*zip_longest(*families.values())) if address is not None]


def connect(host: str, port: int, timeout: float) -> socket.socket:
    """Return a socket connected to the first address of a host that answers; its timeout is `timeout`.

    Args:
        host: name or address.
        port: TCP port.
        timeout: seconds that each address has.

    Raises:
        OSError: no address could be connected to, or there is none. So for UnicodeError.
    """
    race = _Race(timeout)
    try:
        return race.run(deque(interleaved(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))))
    finally:
        race.close()


class _Race:
    """The attempts to connect to one host."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._selector = _Selector()
        self._error: OSError | None = None

    def run(self, left: deque[Address]) -> socket.socket:
        next_at = last_at = time.monotonic()
        while left or self._selector.get_map():
            if left and (not self._selector.get_map() or time.monotonic() >= next_at):
                self._begin(left.popleft())
                last_at = time.monotonic()
                next_at = last_at + _DELAY
                if not self._selector.get_map():
                    continue  # it failed at once
            until = min(next_at, last_at + self._timeout) if left else last_at + self._timeout
            ready = self._selector.select(max(0.0, until - time.monotonic()))
            for key, _ in ready:
                if (sock := self._finish(key.fileobj)) is not None:
                    return sock
                next_at = 0.0  # no reason to wait for the next
            if not ready and not left and time.monotonic() >= until:
                break
        raise self._error or TimeoutError("timed out")

    def close(self) -> None:
        """Close what did not win."""
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    def _begin(self, address: Address) -> None:
        family, kind, protocol, _, where = address
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:
            self._error = self._error or error
            return
        try:
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):  # which says that it is under way
                sock.connect(where)
            self._selector.register(sock, selectors.EVENT_WRITE)
        except OSError as error:
            self._error = self._error or error
            sock.close()

    def _finish(self, sock: Any) -> socket.socket | None:
        """Return a socket that is ready if it is connected; note why, if it is not."""
        assert isinstance(sock, socket.socket)
        self._selector.unregister(sock)
        code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code == 0:
            sock.settimeout(self._timeout)
            return sock
        self._error = self._error or OSError(code, os.strerror(code))
        sock.close()
        return None
