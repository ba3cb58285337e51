"""The machine: the one platform of sockets and threads that all clients of a process share."""

from __future__ import annotations

import functools
from importlib import metadata

from tinker_actors.actors.platform import SocketPlatform


def version() -> str:
    """Return this package's version, as installed; `0+unknown` when it runs from a bare checkout."""
    try:
        return metadata.version("tinker-actors")
    except metadata.PackageNotFoundError:
        return "0+unknown"


@functools.cache
def machine() -> SocketPlatform:
    """Return the process's platform, made on first use."""
    return SocketPlatform(version())
