"""Opening one connection through a proxy, blocking: to the proxy, its tunnel, TLS.

urllib3 does it, so proxies are treated as users know it from requests. The socket it connected is taken over. Runs
on connector threads only.
"""

from __future__ import annotations

import socket
import time
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, LocationParseError, NewConnectionError
from urllib3.util import Url, parse_url

from tinker_actors.net.direct_dialing import prepared
from tinker_actors.net.racing import connect
from tinker_actors.net.target import Target, proxy_authorization
from tinker_actors.net.tls_dialing import default_ssl_context, failure
from tinker_actors.net.transport import Broken

_PROXY_PORTS = {"http": 80, "https": 443}


def open_through_proxy(target: Target) -> socket.socket | Broken:
    """Connect, blocking for at most a few `connect_timeout`s. Returns a non-blocking socket, or what failed."""
    assert target.proxy is not None
    connection: HTTPConnection | None = None
    try:
        connection = _connection(target, _parse_proxy(target.proxy))
        connection.connect()
        return _take_socket(connection)
    except Exception as error:
        if connection is not None:
            connection.close()
        return failure(target, error, _known(error))


def _connection(target: Target, proxy: Url) -> HTTPConnection:
    """Return the urllib3 connection for a target, not yet connected."""
    timeout = target.connect_timeout
    context = target.ssl_context
    if "https" in (target.scheme, proxy.scheme) and context is None:
        context = default_ssl_context()
    host, port = str(proxy.host).strip("[]"), proxy.port or _PROXY_PORTS[str(proxy.scheme)]
    if target.scheme == "https":
        if proxy.scheme == "https":
            raise _UnsupportedError("a proxy that is itself spoken to in TLS can't carry a TLS connection here")
        tunnel = _TlsHop(host, port, timeout=timeout, ssl_context=context, proxy=proxy)
        tunnel.set_tunnel(target.host, target.port, dict(proxy_authorization(str(target.proxy))), "http")
        return tunnel
    # Requests in plain text name the whole URL; the proxy is then just the server we talk to.
    if proxy.scheme == "https":
        return _TlsHop(host, port, timeout=timeout, ssl_context=context)
    return _PlainHop(host, port, timeout=timeout)


def _parse_proxy(proxy: str) -> Url:
    url = parse_url(proxy)
    if url.scheme not in _PROXY_PORTS or not url.host:
        raise _UnsupportedError("only http:// and https:// proxies are supported")
    return url


def _take_socket(connection: HTTPConnection) -> socket.socket:
    sock, connection.sock = connection.sock, None
    assert isinstance(sock, socket.socket)
    return prepared(sock)


def _known(error: Exception) -> Exception | str:
    """Return what failed as the system would have said it, or in words: urllib3's own may hold a proxy's password."""
    # urllib3 derives its error for a refused connection from that for one that took too long.
    if isinstance(error, ConnectTimeoutError) and not isinstance(error, NewConnectionError):
        return TimeoutError()
    if isinstance(error, LocationParseError):
        return "the proxy's URL is not valid"
    cause = error.__cause__ if isinstance(error, HTTPError) else error
    return cause if isinstance(cause, Exception) else str(error)


class _HastySocket(socket.socket):
    """A socket whose timeout is for all that is received: a proxy that sends a byte now and then has no more."""

    _until: float

    @classmethod
    def of(cls, sock: socket.socket) -> _HastySocket:
        """Return a connected socket as one of these; its time begins now."""
        timeout = sock.gettimeout()
        made = cls(sock.family, sock.type, sock.proto, fileno=sock.detach())
        made.settimeout(timeout)
        made._until = time.monotonic() + (timeout or 0.0)
        return made

    def recv_into(self, *args: Any, **options: Any) -> int:
        """Receive, within what is left of the time."""
        timeout = self.gettimeout()
        self.settimeout(max(self._until - time.monotonic(), 0.001))
        try:
            return super().recv_into(*args, **options)
        finally:
            self.settimeout(timeout)


class _PlainHop(HTTPConnection):
    """A connection to a proxy, which has its time for the tunnel as a whole."""

    def _new_conn(self) -> socket.socket:
        assert isinstance(self.timeout, int | float)
        return _HastySocket.of(connect(self.host, self.port, self.timeout))


class _TlsHop(_PlainHop, HTTPSConnection):
    """The same, with TLS to the proxy or to the server behind it."""


class _UnsupportedError(Exception):
    """A combination of target and proxy that this module does not open."""
