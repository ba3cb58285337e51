"""Secrets: keys and passwords, kept out of whatever people read.

Two ways lead there. Values of ours are shown by reprs, tracebacks and crash reports: a `Secret` is a text that shows
itself as stars. And others repeat what we sent them: a server that echoes a request's headers in its error. So every
text that comes from outside and is shown goes through `without_secrets`, which knows what this process sends. Names
that others give to things can't be changed, because they are sent back: one that `holds_secret` is refused.
"""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Iterator
from typing import Any, SupportsIndex
from urllib.parse import unquote

from tinker_actors.loading import load

STARS = "***"

# A run of a secret's characters as long as this tells something about it; a shorter one could be anything.
_TELLING = 8
_MOST_KNOWN = 256
_DEEPEST = 3  # escapes within escapes

_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}|&(?:#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,8});"
                     r"|\\u[0-9A-Fa-f]{4}|\\x[0-9A-Fa-f]{2}|\\[\"'/\\]")  # fmt: skip
_WORD = "0-9A-Za-z_"


class Secret(str):
    """A text that is used as any other and shows itself as stars, in tracebacks with locals too."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(STARS)

    def __getitem__(self, key: SupportsIndex | slice) -> Secret:
        """Return a part, which is a secret too: some tools cut a text before they show it."""
        return Secret(super().__getitem__(key))

    def __iter__(self) -> Iterator[str]:
        return map(Secret, super().__iter__())


def secret(value: Any) -> Any:
    """Return a text as a `Secret`, and anything else as it is."""
    return Secret(value) if isinstance(value, str) else value


# ---------------------------------------------------------------- what others repeat

_known: dict[str, tuple[str, ...]] = {}
_whole: tuple[str, ...] = ()  # the forms of all of them
_whole_bytes: tuple[bytes, ...] = ()


def keep_out(value: str) -> None:
    """Keep a secret of this process out of the texts that `without_secrets` returns from now on. Thread-safe.

    A short one of letters alone is an everyday word, as in tests and on loopback, and no secret: texts need it.
    """
    if value not in _known and (len(value) >= _TELLING or not value.isalpha()) and value:
        forms = _forms(value)
        _known[value] = forms
        for oldest in list(_known)[:-_MOST_KNOWN]:
            _known.pop(oldest, None)
        _searched.cache_clear()
        global _whole, _whole_bytes  # noqa: PLW0603 - replaced as a whole, so that readers need no lock
        _whole_bytes = tuple(
            form.encode("utf-8", "surrogatepass") for forms in tuple(_known.values()) for form in forms
        )
        _whole = tuple(form for forms in tuple(_known.values()) for form in forms)


def _forms(value: str) -> tuple[str, ...]:
    """Return how a secret may be written: as it is, in base64 behind any beginning, in hexadecimal; in lower case."""
    content = value.encode("utf-8", "surrogatepass")
    forms = [value.lower()]
    if len(content) >= _TELLING:
        forms.append(content.hex())
        for shift in range(3):
            text = base64.b64encode(b"\0" * shift + content).decode().rstrip("=")
            # The first characters depend on what is before it, the last ones on what is behind it.
            core = text[(0, 2, 3)[shift] : len(text) - 1].lower()
            forms += {core, core.translate(str.maketrans("+/", "-_"))}
    return tuple(dict.fromkeys(forms))


def without_secrets(text: str) -> str:
    """Return a text with stars in place of what this process keeps secret, whole or in part, escaped or encoded.

    A run of eight characters of a secret counts; a shorter secret counts where it stands as a word of its own.
    Thread-safe.
    """
    return _searched(text) if _known and text else text


def may_hold_secret(content: bytes) -> bool:
    """Return whether a name in a JSON text could be one that `holds_secret`. Thread-safe.

    Nearly always none could be, and that is known at once for all names in it.

    Args:
        content: the text, in UTF-8.
    """
    if not _whole:
        return False
    if not content.isascii() or b"\\" in content or b"%" in content or b"&" in content:
        return True
    lower = content.lower()
    for form in _whole_bytes:  # noqa: SIM110 - see holds_secret
        if form in lower:
            return True
    return False


def holds_secret(name: str) -> bool:
    """Return whether a name from outside holds a secret of this process as a whole, escaped or encoded. Thread-safe.

    A part is no reason to refuse a name: keys and names of one project may begin alike. A short secret counts where it
    is all of the name.
    """
    if "%" in name or "&" in name or "\\" in name:
        name = _unescaped(name)[0]
    lower = name.lower()
    for form in _whole:  # noqa: SIM110 - a generator would take twice as long, and this is asked of each sample
        if form in lower and (len(form) >= _TELLING or form == lower):
            return True
    return False


@functools.lru_cache(128)  # what a server in trouble says, it says to many
def _searched(text: str) -> str:
    escaped = "%" in text or "&" in text or "\\" in text
    if not escaped and not _may_hold(text.lower()):
        return text
    plain, places = _unescaped(text)
    spans = _spans(plain.lower())
    for start, end in reversed(_joined(spans)):
        text = text[: places[start]] + STARS + text[places[end] :]
    return text


def _may_hold(lower: str) -> bool:
    """Return whether a text may hold part of a secret: whoever has eight of its characters has an aligned four."""
    for forms in tuple(_known.values()):
        for form in forms:
            if len(form) < _TELLING:
                if form in lower:
                    return True
            elif any(form[at : at + 4] in lower for at in range(0, len(form) - 3, 4)):
                return True
    return False


def _unescaped(text: str) -> tuple[str, list[int]]:
    """Return a text without escapes, and where in the given one each of its characters begins, and the end."""
    places = list(range(len(text) + 1))
    for _ in range(_DEEPEST):
        pieces: list[str] = []
        starts: list[int] = []
        last = 0
        for found in _ESCAPE.finditer(text):
            piece = _meant(found[0])
            pieces += (text[last : found.start()], piece)
            starts += places[last : found.start()]
            starts += [places[found.start()]] * len(piece)
            last = found.end()
        if not last:
            break
        pieces.append(text[last:])
        starts += places[last:]
        text, places = "".join(pieces), starts
    return text, places


def _meant(escape: str) -> str:
    if escape[0] == "%":
        return unquote(escape, "latin-1")
    if escape[0] == "&":
        load("html")
        import html  # noqa: PLC0415 - its table of 2,231 names is for the few who meet one

        return html.unescape(escape)
    return chr(int.from_bytes(bytes.fromhex(escape[2:].zfill(4)))) if escape[1] in "ux" else escape[1]


def _spans(lower: str) -> list[tuple[int, int]]:
    spans = []
    for forms in tuple(_known.values()):
        for form in forms:
            if len(form) < _TELLING:
                word = rf"(?<![{_WORD}]){re.escape(form)}(?![{_WORD}])"
                spans += [found.span() for found in re.finditer(word, lower)]
                continue
            for at in range(len(form) - _TELLING + 1):
                run = form[at : at + _TELLING]
                start = lower.find(run)
                while start >= 0:
                    spans.append((start, start + _TELLING))
                    start = lower.find(run, start + 1)
    return spans


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return spans in order, those that touch or overlap as one."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


def scrubbed(value: Any) -> Any:
    """Return a JSON value whose texts are without secrets."""
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, dict):
        return {without_secrets(key) if isinstance(key, str) else key: scrubbed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [scrubbed(item) for item in value]
    return value
