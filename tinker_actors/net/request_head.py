"""Request line and headers as bytes.

What is the same for every request of a transport is encoded once, and so is what requests to one path have in common;
a request adds its length. Values are checked for line breaks when they are first seen, so that no header can smuggle
in another one.
"""

from __future__ import annotations

from collections.abc import Iterable

from tinker_actors.net.transport import Request
from tinker_actors.types.headers import header_problem, is_name

# Methods whose requests say `Content-Length: 0` when they have no body (RFC 9110, section 8.6).
_EXPECTS_BODY = frozenset({"POST", "PUT", "PATCH"})
_DEFAULT_PORTS = {"http": 80, "https": 443}
# Beginnings of requests kept; a client has a few dozen, and those with a number in them push each other out.
_MOST_KNOWN = 128

# Smaller requests are joined: one write is cheaper than two, and in TLS one record than two.
_JOIN_BELOW = 64 * 1024

Headers = tuple[tuple[str, str], ...]


def authority(scheme: str, host: str, port: int) -> str:
    """Return host and port as they stand in a URL or a Host header, without the scheme's default port.

    The zone of an IPv6 address stays here: it means something on this machine only (RFC 6874).
    """
    host = host.partition("%")[0]
    name = f"[{host}]" if ":" in host else host
    return name if _DEFAULT_PORTS.get(scheme) == port else f"{name}:{port}"


class RequestHead:
    """Renders the head of requests to one server. For one thread.

    Args:
        host: the value of the Host header, see `authority`.
        prefix: what precedes every request's path: the base URL's own path, or for a plain HTTP proxy the
            base URL itself.
        headers: names and values sent with every request that does not bring its own of that name.

    Raises:
        ValueError: a header holds a line break or a character that HTTP has no byte for. The message names
            the header and never shows its value.
    """

    __slots__ = ("_headers", "_host", "_known", "_prefix")

    def __init__(self, host: str, prefix: str = "", headers: Iterable[tuple[str, str]] = ()) -> None:
        self._prefix = prefix
        self._host = f" HTTP/1.1\r\nHost: {host}\r\n".encode("ascii")
        self._headers = tuple((name.lower(), _encode(name, value)) for name, value in headers)
        self._known: dict[tuple[str, str, Headers], bytes] = {}

    def render(self, request: Request) -> tuple[bytes, tuple[bytes, ...]]:
        """Return what to send: request line, headers and a body that is small in one piece, and what is left over.

        Raises:
            ValueError: as for the constructor, or the path holds something that is not percent-encoded.
        """
        body = request.body
        key = (request.method, request.path, request.headers)
        start = self._known.get(key)
        if start is None:
            start = self._learn(key)
        for name, value in request.own_headers:
            start = _Start(start + _encode(name, value))
        if not body:
            return start + (b"Content-Length: 0\r\n\r\n" if request.method in _EXPECTS_BODY else b"\r\n"), ()
        length = len(body[0]) if len(body) == 1 else sum(map(len, body))
        if length <= _JOIN_BELOW:
            return b"".join((start, b"Content-Length: %d\r\n\r\n" % length, *body)), ()
        return b"%bContent-Length: %d\r\n\r\n" % (start, length), body

    def _learn(self, key: tuple[str, str, Headers]) -> bytes:
        start = _Start(self._start(*key))
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[key] = start
        return start

    def _start(self, method: str, path: str, headers: Headers) -> bytes:
        """Encode all but the length and the end."""
        if not path.isascii() or not path.isprintable() or " " in path:
            raise ValueError("the request's path has to be percent-encoded")
        own = {name.lower() for name, _ in headers}
        return b"".join(
            (
                f"{method} {self._prefix}{path}".encode("ascii"),
                self._host,
                *(line for name, line in self._headers if name not in own),
                b"Accept-Encoding: identity\r\n",
                *(_encode(name, value) for name, value in headers),
            )
        )


def _encode(name: str, value: str) -> bytes:
    if not (value.isascii() and value.isprintable() and is_name(name)):  # as nearly all are; else it is looked at
        problem = header_problem(name, value)
        if problem is not None:
            raise ValueError(f"the header {name!r} {problem}")
    return f"{name}: {value}\r\n".encode("latin-1")


class _Start(bytes):
    """The beginning of a request. There are credentials in it, so crash reports that show locals must not show it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{len(self)} bytes>"
