"""Opening one connection, blocking, whatever way leads to the server: TLS here, and the others by their modules.

Certificates and proxies are those that users know from requests. A handshake is most of what opening costs, and above
the connection cap there is one each time that polls take turns, so nothing stands between it and the socket. Runs on
connector threads only.
"""

from __future__ import annotations

import functools
import os
import socket
import ssl
from pathlib import Path
from urllib.request import getproxies

from tinker_actors.protocol.error_replies import THROUGH_PROXY
from tinker_actors.runtime.connector import Target
from tinker_actors.runtime.direct_dialing import open_direct, out_of_files, prepared
from tinker_actors.runtime.racing import connect
from tinker_actors.runtime.transport import Broken, BrokenKind, NoFiles

_CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")


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


def proxy_from_environment(url: str) -> str | None:
    """Return the URL of the proxy that the environment names for a URL, or None: by the same rules as requests.

    `HTTPS_PROXY`, `HTTP_PROXY` or `ALL_PROXY` name it, or the system's settings; `NO_PROXY` has the exceptions.
    """
    proxies = getproxies()
    if not proxies.keys() - {"no"}:
        return None
    from requests.utils import select_proxy, should_bypass_proxies  # noqa: PLC0415 - only where there is a proxy

    proxy = None if should_bypass_proxies(url, None) else select_proxy(url, proxies)
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    return proxy or None


def open_socket(target: Target) -> socket.socket | Broken:
    """Connect, blocking for at most a few `connect_timeout`s. Returns a non-blocking socket, or what failed."""
    if target.proxy is not None:
        from tinker_actors.runtime.proxy_dialing import open_through_proxy  # noqa: PLC0415 - urllib3, on first use

        return open_through_proxy(target)
    return open_direct(target) if target.scheme == "http" else _open_tls(target)


def failure(target: Target, error: Exception, known: Exception | str) -> Broken:
    """Return what a connection that can't be opened is answered with.

    Args:
        target: where it should have gone.
        error: what was raised.
        known: what that means, as an error of the system or of TLS, or in words.
    """
    kind: BrokenKind = "tls" if isinstance(known, ssl.SSLError) else "connect"
    if isinstance(known, ssl.SSLCertVerificationError):
        reason = f"the server's certificate is not valid: {known.verify_message}"
    elif isinstance(known, TimeoutError):
        kind, reason = "timeout", "it did not answer in time"
    else:
        reason = (known.strerror if isinstance(known, OSError) else None) or str(known)
    broken = NoFiles if out_of_files(error) else Broken
    way = "" if target.proxy is None else THROUGH_PROXY
    return broken(kind, "connect", f"could not connect to {target.url}{way}: {reason}", False)


def _open_tls(target: Target) -> socket.socket | Broken:
    """Connect without a proxy, and shake hands; certificate and name are verified as the context says."""
    sock: socket.socket | None = None
    try:
        context = target.ssl_context or default_ssl_context()
        sock = connect(target.host, target.port, target.connect_timeout)
        return prepared(context.wrap_socket(sock, server_hostname=_name_to_verify(target.host)))
    except Exception as error:
        if sock is not None:
            sock.close()
        return failure(target, error, error)


def _name_to_verify(host: str) -> str:
    """Return what a certificate calls a host: without the final dot of a full name, or the zone of an address."""
    return host.rstrip(".").partition("%")[0]
