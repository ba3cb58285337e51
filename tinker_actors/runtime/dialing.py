"""Opening one connection, blocking: name lookup, TCP, proxy tunnel, TLS.

urllib3 does it, so certificates, proxies and addresses are treated as users know it from requests. The socket
it connected is taken over and made non-blocking. Runs on connector threads only.
"""

from __future__ import annotations

import functools
import os
import socket
import ssl
from pathlib import Path
from urllib.request import getproxies, proxy_bypass

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, LocationParseError, NewConnectionError
from urllib3.util import Url, parse_url

from tinker_actors.runtime.connector import Target, proxy_authorization
from tinker_actors.runtime.direct_dialing import out_of_files, prepared
from tinker_actors.runtime.transport import Broken, BrokenKind, NoFiles

_CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
_PROXY_PORTS = {"http": 80, "https": 443}


def default_ssl_context(cafile: str | None = None) -> ssl.SSLContext:
    """Return the process's SSL context for a set of authorities: it verifies certificate and host name.

    Args:
        cafile: PEM file or directory of trusted authorities. By default the one named by `SSL_CERT_FILE` or
            `REQUESTS_CA_BUNDLE`, else the system's.

    Raises:
        OSError: the file can't be read; `ssl.SSLError` is one, for a file without certificates.
    """
    path = cafile or next(filter(None, map(os.environ.get, _CA_VARIABLES)), None)
    return _ssl_context(path)


@functools.cache
def _ssl_context(path: str | None) -> ssl.SSLContext:
    if path is None:
        context = ssl.create_default_context()
    elif Path(path).is_dir():
        context = ssl.create_default_context(capath=path)
    else:
        context = ssl.create_default_context(cafile=path)
    context.set_alpn_protocols(["http/1.1"])
    return context


def proxy_from_environment(scheme: str, host: str) -> str | None:
    """Return the URL of the proxy the environment names (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`)."""
    if proxy_bypass(host):
        return None
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all")
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    return proxy or None


def open_socket(target: Target) -> socket.socket | Broken:
    """Connect, blocking for at most a few `connect_timeout`s. Returns a non-blocking socket, or what failed."""
    connection: HTTPConnection | None = None
    try:
        connection = _connection(target)
        connection.connect()
        return _take_socket(connection)
    except Exception as error:
        if connection is not None:
            connection.close()
        broken = NoFiles if out_of_files(error) else Broken
        return broken(_kind(error), "connect", f"could not connect to {target.url}: {_reason(error)}", False)


def _connection(target: Target) -> HTTPConnection:
    """Return the urllib3 connection for a target, not yet connected."""
    timeout = target.connect_timeout
    context = target.ssl_context
    proxy = None if target.proxy is None else _parse_proxy(target.proxy)
    if "https" in (target.scheme, proxy and proxy.scheme) and context is None:
        context = default_ssl_context()
    if proxy is None:
        if target.scheme == "https":
            return HTTPSConnection(target.host, target.port, timeout=timeout, ssl_context=context)
        return HTTPConnection(target.host, target.port, timeout=timeout)
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


def _kind(error: Exception) -> BrokenKind:
    if isinstance(error, ssl.SSLError):
        return "tls"
    if _timed_out(error):
        return "timeout"
    return "connect"


def _reason(error: Exception) -> str:
    """Say what failed without a proxy's password, which urllib3's own texts may hold."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not valid: {error.verify_message}"
    if _timed_out(error):
        return "it did not answer in time"
    if isinstance(error, LocationParseError):
        return "the proxy's URL is not valid"
    cause = error.__cause__ if isinstance(error, HTTPError) else error
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause or error)


def _timed_out(error: Exception) -> bool:
    # urllib3 derives its error for a refused connection from that for one that took too long.
    return isinstance(error, TimeoutError | ConnectTimeoutError) and not isinstance(error, NewConnectionError)


class _UnsupportedError(Exception):
    """A combination of target and proxy that this module does not open."""
