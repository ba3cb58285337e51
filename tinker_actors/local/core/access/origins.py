"""Origins: whether a web page sent a request, which no page may that is not the server's own.

A browser sends requests for any page to any address, loopback included, and says so: by `Origin`, by `Sec-Fetch-Site`,
and by a `Host` that is the page's own name where that name was made to lead here (DNS rebinding). Programs say nothing
of the kind. What a page can send without asking first is a form or plain text, never JSON (Fetch standard, 2.2.2).
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterable

from tinker_actors.errors import ConfigError
from tinker_actors.local.core.requests.messages import RefusedError

ANY = "*"
"""Allows every host."""

_NETLOC = re.compile(r"(\[[0-9A-Fa-f:.%]+\]|[^\s:/@\[\]]+)(?::([0-9]{0,5}))?")
_NAME = re.compile(r"(?:\*\.)?[^\s:/@\[\]*]+")
_ORIGIN = re.compile(r"(https?)://([^\s/]+)")
_DEFAULT_PORTS = {"http": "80", "https": "443"}

_OWN_SITES = frozenset({"same-origin", "none"})
"""Values of `Sec-Fetch-Site` for what no other page sent: our own pages, and the user himself."""

_WITHOUT_CONTENT = frozenset({"GET", "HEAD", "OPTIONS"})
_TYPES_READ = re.compile(r"[^/]+/(?:json|[^/]*\+json|[^/]*protobuf)")


class Origins:
    """Who may call a server, as far as browsers tell.

    Args:
        allowed: names and addresses by which the server may be called, beside loopback's; `*.example.com` stands for
            all names below, `*` for any.

    Raises:
        ConfigError: one of them is no name and no address.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._allowed = frozenset(_checked(name) for name in allowed)
        self._answers = functools.lru_cache(maxsize=64)(self._answers_to)

    def require_own(self, headers: Iterable[tuple[bytes, bytes]], address: str | None) -> None:
        """Check where a request comes from.

        Args:
            headers: the request's, with names in lower case.
            address: the address of this machine at which the connection arrived; None if it is not known.

        Raises:
            RefusedError: 403, from a web page that is not this server's, or for a host that this server is not.
        """
        host, origins = None, []
        for name, value in headers:
            if name == b"host":
                host = value.decode("latin-1")
                if not self._answers(host, address):
                    raise _wrong_host(host)
            elif name == b"origin":
                origins.append(value.decode("latin-1"))
            elif name == b"sec-fetch-site" and value.decode("latin-1").strip().lower() not in _OWN_SITES:
                raise _foreign(f"sec-fetch-site is {value[:40].decode('latin-1')!r}")
        if host is None:
            raise RefusedError(403, "The request needs a Host header that names this server.")
        for origin in origins:
            if not _same_origin(origin, host):
                raise _foreign(f"origin is {origin[:200]!r}")

    def _answers_to(self, host: str, address: str | None) -> bool:
        match = _NETLOC.fullmatch(host.strip())
        if match is None:
            return ANY in self._allowed
        name = _plain(match[1])
        if ANY in self._allowed or name in self._allowed or name in ("localhost", address):
            return True
        if _is_loopback(name) or name.endswith(".localhost"):  # RFC 6761: it never leads elsewhere
            return True
        return any(f"*.{above}" in self._allowed for above in _above(name))


def require_read_type(method: str, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Check that a request's content, if it has any, is of a type that a page could not send unasked.

    Raises:
        RefusedError: 415, it is neither JSON nor protobuf.
    """
    if method in _WITHOUT_CONTENT:
        return
    content, types = False, []
    for name, value in headers:
        if name == b"content-type":
            types.append(value.decode("latin-1"))
        elif name == b"transfer-encoding" or (name == b"content-length" and value.strip(b" \t0")):
            content = True
    if content and not types:
        types.append("")
    for given in types:
        if not _TYPES_READ.fullmatch(given.partition(";")[0].strip().lower()):
            said = f"not {given[:100]!r}" if given else "and say so in content-type"
            raise RefusedError(415, f"Send application/json or application/x-protobuf, {said}.")


def _checked(name: str) -> str:
    plain = _plain(name)
    if name == ANY or _NAME.fullmatch(plain) or _address(plain) is not None:
        return plain
    raise ConfigError(
        f"{name!r} is no host to be allowed.",
        advice="Give a name or an address without scheme and port, *.example.com for all names below one, or *.",
    )


def _plain(name: str) -> str:
    return name.lower().removeprefix("[").removesuffix("]").rstrip(".")


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _is_loopback(name: str) -> bool:
    address = _address(name)
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    return address is not None and address.is_loopback


def _above(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[place:]) for place in range(1, len(parts))]


def _same_origin(origin: str, host: str) -> bool:
    match = _ORIGIN.fullmatch(origin.strip().lower())
    return match is not None and _place(match[2], match[1]) == _place(host.strip().lower(), match[1])


def _place(netloc: str, scheme: str) -> tuple[str, str] | None:
    match = _NETLOC.fullmatch(netloc)
    return None if match is None else (match[1], match[2] or _DEFAULT_PORTS[scheme])


def _wrong_host(host: str) -> RefusedError:
    return RefusedError(
        403,
        f"This server does not answer to the host {host[:200]!r}. If it is a name of this server's, start it with "
        "--allowed-host and that name.",
    )


def _foreign(why: str) -> RefusedError:
    return RefusedError(403, f"This server takes no requests from pages of other sites ({why}).")
