"""Opening one connection through a proxy, blocking: to the proxy, its tunnel, TLS.

urllib3 does it, so proxies are treated as users know it from requests. The socket it connected is taken over. Beside
`dialing`, so that whoever has no proxy does not load urllib3. Runs on connector threads only.
"""

from __future__ import annotations

import socket

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, LocationParseError, NewConnectionError
from urllib3.util import Url, parse_url

from tinker_actors.runtime.connector import Target, proxy_authorization
from tinker_actors.runtime.dialing import default_ssl_context, failure
from tinker_actors.runtime.direct_dialing import prepared
from tinker_actors.runtime.transport import Broken

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
        tunnel = HTTPSConnection(host, port, timeout=timeout, ssl_context=context, proxy=proxy)
        tunnel.set_tunnel(target.host, target.port, dict(proxy_authorization(str(target.proxy))), "http")
        return tunnel
    # Requests in plain text name the whole URL; the proxy is then just the server we talk to.
    if proxy.scheme == "https":
        return HTTPSConnection(host, port, timeout=timeout, ssl_context=context)
    return HTTPConnection(host, port, timeout=timeout)


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


class _UnsupportedError(Exception):
    """A combination of target and proxy that this module does not open."""
