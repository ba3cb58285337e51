"""Redirects: where an answer sends a request, and whether it goes there.

Only 307 and 308 keep method and body, and only the same scheme, host and port are the server that the key was given
for. Everything else is left to whoever asked.
"""

from __future__ import annotations

from urllib.parse import SplitResult, urljoin, urlsplit

from tinker_actors.net.transport import Reply

_FOLLOWED = frozenset({307, 308})
_DEFAULT_PORTS = {"http": 80, "https": 443}

# How often one request is sent on: a front end needs one, and a server that leads in circles has no end.
_MOST = 5


def path_to_follow(reply: Reply, url: str, followed: int) -> str | None:
    """Return the path and query on the same server that a request is to be sent on to, or None not to follow.

    Args:
        reply: the answer.
        url: what was asked for, from the scheme to the query.
        followed: how often this request was sent on before.
    """
    location = reply.headers.get("location")
    if reply.status not in _FOLLOWED or not location or followed >= _MOST:
        return None
    try:
        asked, found = urlsplit(url), urlsplit(urljoin(url, location))
        same = found.scheme == asked.scheme and found.hostname == asked.hostname and _port(found) == _port(asked)
    except ValueError:  # no URL, or no port in it
        return None
    sendable = location.isascii() and location.isprintable() and " " not in location
    if not same or found.username is not None or not sendable:
        return None
    path = found.path or "/"
    return f"{path}?{found.query}" if found.query else path


def _port(parts: SplitResult) -> int | None:
    return parts.port or _DEFAULT_PORTS.get(parts.scheme)
