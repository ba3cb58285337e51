"""Opening a plain connection without a proxy, blocking: name lookup and TCP.

Runs on connector threads only.
"""

from __future__ import annotations

import socket

from tinker_actors.net.open_files import NONE_LEFT
from tinker_actors.net.racing import connect
from tinker_actors.net.target import Target
from tinker_actors.net.transport import Broken, NoFiles


def open_direct(target: Target) -> socket.socket | Broken:
    """Connect, blocking for at most `connect_timeout` per address. Returns a non-blocking socket, or what failed."""
    try:
        return prepared(connect(target.host, target.port, target.connect_timeout))
    except (OSError, UnicodeError) as error:  # a host name that can't be one is a UnicodeError
        late = isinstance(error, TimeoutError)
        reason = "it did not answer in time" if late else getattr(error, "strerror", None) or str(error)
        broken = NoFiles if out_of_files(error) else Broken
        return broken(
            "timeout" if late else "connect", "connect", f"could not connect to {target.url}: {reason}", False
        )


def prepared(sock: socket.socket) -> socket.socket:
    """Return a connected socket as lanes want it: non-blocking, and sending at once.

    Raises:
        OSError: the other side is gone already, as some systems say here; the socket is closed then.
    """
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        sock.close()
        raise
    return sock


def out_of_files(error: BaseException | None) -> bool:
    """Tell whether the system refused to open one more file. A name lookup that met that says something else."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in NONE_LEFT:
            return True
        if isinstance(error, socket.gaierror):
            return _no_file_to_be_had()
        error = error.__cause__ or error.__context__
    return False


def _no_file_to_be_had() -> bool:
    try:
        socket.socket().close()
    except OSError as error:
        return error.errno in NONE_LEFT
    return False
