"""Addresses: of servers and proxies, checked as far as that is possible without asking anybody.

What a name stands for only the network knows; whether it can be a name at all, nobody has to be asked.
"""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, quote, urlsplit, urlunsplit

from tinker_actors.errors import ConfigError
from tinker_actors.loading import load
from tinker_actors.secrets import Secret

# What a path may hold beside letters and digits (RFC 3986, section 3.3).
_IN_PATHS = "/:@!$&'()*+,;=~-._"
_STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NAME = re.compile(r"[0-9A-Za-z._-]+")
_USER = re.compile(r"^([^/?#]*)//[^/?#]*@")
_MAYBE_USER = re.compile(r"//.*@", re.DOTALL)  # a password may hold what ends a host, where nobody encoded it
_LONGEST_LABEL = 63
_LONGEST_NAME = 253


def base_url(url: str) -> str:
    """Return a server's address as it is used: without a slash at its end, its path percent-encoded.

    Raises:
        ConfigError: no scheme or host, a host or port that can't be one, a user name, a query or a fragment, or a
            character that no URL has.
    """
    if _USER.match(url) is not None:
        raise ConfigError("The base URL holds a user name or password; pass the key as api_key instead.")
    shown = f"The base URL {hide_user(url)!r}"
    parts = _parts(url, shown)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{shown} needs a scheme and a host, like http://127.0.0.1:8000 or https://...")
    _check_host(parts.hostname, shown)
    if parts.query or parts.fragment or url.endswith(("?", "#")):
        raise ConfigError(f"{shown} holds a query or a fragment; it ends with a path.")
    path = quote(_STRAY_PERCENT.sub("%25", parts.path.rstrip("/")), safe=_IN_PATHS + "%")
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def check_proxy(proxy: str, scheme: str | None = None, source: str = "proxy") -> None:
    """Check the URL of a proxy. What it holds is not shown: there may be a password in it.

    Args:
        proxy: the URL.
        scheme: that of the server behind it, when known.
        source: where the URL comes from, for messages.

    Raises:
        ConfigError: no HTTP proxy, a host or port that can't be one, or a way that is not gone here.
    """
    proxy = Secret(proxy)
    if not proxy.isprintable():
        raise ConfigError(f"{source} holds a character that no URL has.")
    parts = _parts(Secret(_USER.sub(lambda found: f"{found[1]}//", proxy)), source)
    if parts.scheme not in ("http", "https"):
        kind = f"a {parts.scheme} proxy" if parts.scheme and parts.netloc else "an address without a scheme"
        raise ConfigError(f"{source} is {kind}; only HTTP proxies are supported: http://host:port.")
    if not parts.hostname:
        raise ConfigError(f"{source} needs a host, like http://host:3128.")
    _check_host(parts.hostname, source)
    if parts.scheme == scheme == "https":
        raise ConfigError(
            f"{source} is spoken to in TLS, and can't carry a TLS connection here; use its http:// address."
        )


def hide_user(url: str | None) -> str | None:
    """Return a URL, as a `Secret` if there may be a user name or password in it."""
    return url if url is None or _MAYBE_USER.search(url) is None else Secret(url)


def _parts(url: str, shown: str) -> SplitResult:
    """Split a URL.

    Args:
        url: the URL.
        shown: what to call it in messages.
    """
    odd = any(not character.isprintable() for character in url)
    if odd or url != url.strip():
        raise ConfigError(f"{shown} begins or ends with a space, or holds a character that no URL has.")
    port, wrong = None, ""
    try:
        port = urlsplit(url).port
    except ValueError as error:
        wrong = "; a user name or password in it has to be percent-encoded" if _MAYBE_USER.search(url) else f": {error}"
    if wrong:  # not up there: the frames that raised the other error hold what may be part of a password
        raise ConfigError(f"{shown} can't be read{wrong}.")
    if port == 0:
        raise ConfigError(f"{shown} has the port 0, which nobody listens on.")
    return urlsplit(url)


def _check_host(host: str, shown: str) -> None:
    if not host.isascii():
        load("encodings.idna")
        try:
            there = f" Written in ASCII it is {host.encode('idna').decode()}."
        except UnicodeError:
            there = ""
        raise ConfigError(f"{shown} has a host that is not ASCII.{there}")
    if ":" in host:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            raise ConfigError(f"{shown} has a host that is no IPv6 address.") from None
        return
    labels = host.removesuffix(".").split(".")
    if (
        _NAME.fullmatch(host) is None
        or len(host) > _LONGEST_NAME
        or not all(0 < len(label) <= _LONGEST_LABEL for label in labels)
    ):
        raise ConfigError(f"{shown} has a host that can't be one.")


def is_loopback(host: str) -> bool:
    """Return whether `host` is this machine: `localhost` or a loopback address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def same_server(one: str, other: str) -> bool:
    """Return whether two base URLs lead to the same place."""
    return place(one) == place(other)


def place(url: str) -> tuple[str, str, int | None, str]:
    """Return where a base URL leads: scheme, host, port and path, the same for all ways of writing it."""
    parts = urlsplit(url)
    standard = {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname or "", parts.port or standard, parts.path.rstrip("/")
