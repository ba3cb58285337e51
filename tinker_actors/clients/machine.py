"""The machine: the one platform of sockets and threads that all clients of a process share."""

from __future__ import annotations

import functools

from tinker_actors.actors.platform import SocketPlatform
from tinker_actors.runtime.forks import on_fork
from tinker_actors.version import VERSION


@functools.cache
def machine() -> SocketPlatform:
    """Return the process's platform, made on first use."""
    return SocketPlatform(VERSION)


on_fork(machine.cache_clear)
