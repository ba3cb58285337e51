"""Headers: which names and values HTTP can carry (RFC 9110, sections 5.1 and 5.5)."""

from __future__ import annotations

import functools
import re

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

FRAMING = frozenset({
    "accept-encoding", "connection", "content-encoding", "content-length", "expect", "host", "keep-alive",
    "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
})  # fmt: skip
"""Headers that say how a message travels; whoever sends it has to write them."""


@functools.lru_cache(128)
def is_name(name: str) -> bool:
    """Return whether HTTP allows a header of this name."""
    return _NAME.fullmatch(name) is not None


def header_problem(name: str, value: str) -> str | None:
    """Return what is wrong with a header, or None. Neither its value nor an odd name is shown."""
    if not is_name(name):
        return "has a name that HTTP does not allow: it is made of letters, digits and a few signs, without spaces"
    if _VALUE.fullmatch(value) is not None:
        return None
    if any(ord(character) > 0xFF for character in value):  # noqa: PLR2004 - the last one of Latin-1
        return "holds a character outside Latin-1"
    return "holds a line break or another character HTTP forbids"
