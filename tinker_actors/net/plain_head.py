"""Heads of ordinary answers, read without a parser.

Nearly every answer is a status line, a few headers with one `Content-Length`, and that many bytes. Reading just that
costs a fraction of a parser and its callbacks, and servers repeat themselves, so heads are remembered. Whatever is not
plainly so is left to the parser: this module is never more lenient than it, and its tests compare the two.
"""

from __future__ import annotations

import re
from typing import NamedTuple

END = b"\r\n\r\n"

# RFC 9112: the status line, and header lines of a token, a colon and visible characters, blanks and tabs. No folding
# (a line that starts with a blank), no bare CR or LF, no control characters.
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9]) [\t\x20-\x7e]*\r\n")
_LINES = re.compile(rb"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\r\n)*\r\n")
_LENGTH = re.compile(r"[0-9]{1,15}")

# Answers without a body whatever their headers say (RFC 9112, section 6.3), and those that only the parser judges.
_WITHOUT_BODY = frozenset({204, 205, 304})
# They change how the body ends, how it is coded, or whose connection it is.
_LEFT_TO_THE_PARSER = frozenset({"transfer-encoding", "content-encoding", "upgrade", "trailer", "proxy-connection"})
# Repeated, they may contradict themselves.
_ONCE = frozenset({"content-length", "connection"})

_LONGEST_REMEMBERED = 1024
_MOST_REMEMBERED = 256


class PlainHead(NamedTuple):
    """What a plain head says; the connection stays open after its answer.

    Attributes:
        status: the status code.
        headers: names in lower case; a repeated name has its last value. Not to be changed.
        length: bytes of the body.
    """

    status: int
    headers: dict[str, str]
    length: int


class _PlainHeads(dict[bytes, PlainHead | None]):
    def __missing__(self, head: bytes) -> PlainHead | None:
        found = _read(head)
        if len(head) <= _LONGEST_REMEMBERED:
            if len(self) >= _MOST_REMEMBERED:
                self.clear()
            self[head] = found
        return found


# One for all lanes: reading and writing a key are atomic, and what is lost by a race is read again.
_remembered = _PlainHeads()

plain_head = _remembered.__getitem__
"""Read the head of a response, the empty line included. None when the parser has to do it. Thread-safe."""


def _read(head: bytes) -> PlainHead | None:
    line = _STATUS_LINE.match(head)
    if line is None or _LINES.fullmatch(head, line.end()) is None:
        return None
    status = int(line[1])
    if status in _WITHOUT_BODY:
        return None
    headers: dict[str, str] = {}
    for text in head[line.end() : -len(END)].decode("latin-1").split("\r\n"):
        name, _, value = text.partition(":")
        name = name.lower()
        if name in _LEFT_TO_THE_PARSER or (name in _ONCE and name in headers):
            return None
        headers[name] = value.strip(" \t")
    length = headers.get("content-length", "")
    if _LENGTH.fullmatch(length) is None or headers.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    return PlainHead(status, headers, int(length))
