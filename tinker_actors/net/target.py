"""Targets: where a connection goes, and how."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import msgspec

from tinker_actors.net.request_head import authority

if TYPE_CHECKING:
    import ssl

Hop = tuple[str | None, int | None]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a connection goes, and how.

    Attributes:
        scheme: `"http"` or `"https"`.
        host: name or address, without brackets.
        port: TCP port.
        ssl_context: for `https` and for a proxy spoken to in TLS; None means the shared default, which verifies.
        proxy: URL of an HTTP proxy, possibly with user and password, or None.
        connect_timeout: seconds for each step of opening (TCP per address, the whole tunnel, the whole handshake).
    """

    scheme: str
    host: str
    port: int
    ssl_context: ssl.SSLContext | None = None
    proxy: str | None = None
    connect_timeout: float = 5.0

    @property
    def hop(self) -> Hop:
        """Host and port that are connected to: those of the proxy, if there is one."""
        if self.proxy is None:
            return self.host, self.port
        url = urlsplit(self.proxy)
        return url.hostname, url.port

    @property
    def url(self) -> str:
        """Scheme, host and port, without a path."""
        return f"{self.scheme}://{authority(self.scheme, self.host, self.port)}"

    def __repr__(self) -> str:
        if self.proxy is None:
            return f"<Target {self.url}>"
        # Without the proxy's user and password.
        return f"<Target {self.url} through {urlsplit(self.proxy).hostname}>"


def proxy_authorization(proxy: str) -> tuple[tuple[str, str], ...]:
    """Return the header that carries the user and password of a proxy URL, or nothing when it has none."""
    url = urlsplit(proxy)
    if url.username is None:
        return ()
    credentials = f"{unquote(url.username)}:{unquote(url.password or '')}"
    return (("Proxy-Authorization", f"Basic {base64.b64encode(credentials.encode()).decode()}"),)
