"""Opening one connection, blocking, whatever way leads to the server. Runs on connector threads only.

Each way loads what it needs when it is first gone: certificates for TLS, urllib3 for proxies.
"""

from __future__ import annotations

import socket

from tinker_actors.loading import load
from tinker_actors.net.target import Target
from tinker_actors.net.transport import Broken


def open_socket(target: Target) -> socket.socket | Broken:
    """Connect, blocking for at most a few `connect_timeout`s. Returns a non-blocking socket, or what failed."""
    if target.proxy is not None:
        load("tinker_actors.net.proxy_dialing")
        from tinker_actors.net.proxy_dialing import open_through_proxy as open_by_its_way  # noqa: PLC0415
    elif target.scheme == "http":
        load("tinker_actors.net.direct_dialing")
        from tinker_actors.net.direct_dialing import open_direct as open_by_its_way  # noqa: PLC0415
    else:
        load("tinker_actors.net.tls_dialing")
        from tinker_actors.net.tls_dialing import open_tls as open_by_its_way  # noqa: PLC0415
    return open_by_its_way(target)
