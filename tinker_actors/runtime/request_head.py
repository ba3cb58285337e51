"""Request line and headers as bytes.

What is the same for every request of a transport is encoded once; a request adds its line, its own headers and
its length. Values are checked for line breaks, so that no header can smuggle in another one.
"""

from __future__ import annotations

from collections.abc import Iterable

from tinker_actors.runtime.transport import Request

# Methods whose requests say `Content-Length: 0` when they have no body (RFC 9110, section 8.6).
_EXPECTS_BODY = frozenset({"POST", "PUT", "PATCH"})
_DEFAULT_PORTS = {"http": 80, "https": 443}


def authority(scheme: str, host: str, port: int) -> str:
    """Return host and port as they stand in a URL or a Host header, without the scheme's default port."""
    name = f"[{host}]" if ":" in host else host
    return name if _DEFAULT_PORTS.get(scheme) == port else f"{name}:{port}"


class RequestHead:
    """Renders the head of requests to one server. Immutable, so usable from any thread.

    Args:
        host: the value of the Host header, see `authority`.
        prefix: what precedes every request's path: the base URL's own path, or for a plain HTTP proxy the
            base URL itself.
        headers: names and values sent with every request.

    Raises:
        ValueError: a header holds a line break or a character that HTTP has no byte for. The message names
            the header and never shows its value.
    """

    __slots__ = ("_block", "_prefix")

    def __init__(self, host: str, prefix: str = "", headers: Iterable[tuple[str, str]] = ()) -> None:
        self._prefix = prefix
        self._block = (
            f" HTTP/1.1\r\nHost: {host}\r\n".encode("ascii") + _encode(headers) + b"Accept-Encoding: identity\r\n"
        )

    def render(self, request: Request) -> bytes:
        """Return request line, headers and the empty line that ends them.

        Raises:
            ValueError: as for the constructor, or the path holds something that is not percent-encoded.
        """
        path = request.path
        if not path.isascii() or not path.isprintable() or " " in path:
            raise ValueError("the request's path has to be percent-encoded")
        parts = [f"{request.method} {self._prefix}{path}".encode("ascii"), self._block]
        if request.headers:
            parts.append(_encode(request.headers))
        if request.body:
            parts.append(b"Content-Length: %d\r\n\r\n" % sum(map(len, request.body)))
        elif request.method in _EXPECTS_BODY:
            parts.append(b"Content-Length: 0\r\n\r\n")
        else:
            parts.append(b"\r\n")
        return b"".join(parts)


def _encode(headers: Iterable[tuple[str, str]]) -> bytes:
    lines = []
    for name, value in headers:
        if "\r" in value or "\n" in value or "\0" in value or not _is_name(name):
            raise ValueError(f"the header {name!r} holds a line break or another character HTTP forbids")
        try:
            lines.append(f"{name}: {value}\r\n".encode("latin-1"))
        except UnicodeEncodeError:
            # The original error carries the value.
            raise ValueError(f"the header {name!r} holds a character outside Latin-1") from None
    return b"".join(lines)


def _is_name(name: str) -> bool:
    return name.isascii() and name.isprintable() and name != "" and " " not in name and ":" not in name
