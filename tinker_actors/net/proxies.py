"""Proxies: which one the environment says leads to a server."""

from __future__ import annotations

from urllib.request import getproxies

from tinker_actors.loading import load


def proxy_from_environment(url: str) -> str | None:
    """Return the URL of the proxy that the environment names for a URL, or None: by the same rules as requests.

    `HTTPS_PROXY`, `HTTP_PROXY` or `ALL_PROXY` name it, or the system's settings; `NO_PROXY` has the exceptions.
    """
    proxies = getproxies()
    if not proxies.keys() - {"no"}:
        return None
    load("requests.utils")
    from requests.utils import select_proxy, should_bypass_proxies  # noqa: PLC0415 - only where there is a proxy

    proxy = None if should_bypass_proxies(url, None) else select_proxy(url, proxies)
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"
    return proxy or None
