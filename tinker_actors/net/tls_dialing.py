"""Opening one connection without a proxy, blocking: TLS.

A handshake is most of what opening costs, and above the connection cap there is one each time that polls take turns, so
nothing stands between it and the socket. Runs on connector threads only.
"""

from __future__ import annotations

import functools
import os
import socket
import ssl
from pathlib import Path

from tinker_actors.net.direct_dialing import out_of_files, prepared
from tinker_actors.net.racing import connect
from tinker_actors.net.target import Target
from tinker_actors.net.transport import Broken, BrokenKind, NoFiles
from tinker_actors.wording import THROUGH_PROXY

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


def open_tls(target: Target) -> socket.socket | Broken:
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


def _name_to_verify(host: str) -> str:
    """Return what a certificate calls a host: without the final dot of a full name, or the zone of an address."""
    return host.rstrip(".").partition("%")[0]
