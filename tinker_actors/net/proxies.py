"""Proxies: which one leads to a server, and what it is told of who asks."""

from __future__ import annotations

import base64
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies


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


def proxy_authorization(proxy: str) -> tuple[tuple[str, str], ...]:
    """Return the header that carries the user and password of a proxy URL, or nothing when it has none."""
    url = urlsplit(proxy)
    if url.username is None:
        return ()
    credentials = f"{unquote(url.username)}:{unquote(url.password or '')}"
    return (("Proxy-Authorization", f"Basic {base64.b64encode(credentials.encode()).decode()}"),)
