"""Wording: how messages are put together, at one place, so that they read as sentences whoever wrote their parts."""

from __future__ import annotations

from collections.abc import Iterable

from tinker_actors.loading import load

_ENDS = (".", "!", "?", ":")

THROUGH_PROXY = " through the proxy"
"""What a message says behind an address that is reached through a proxy; advice looks for it."""


def sentence(text: str) -> str:
    """Return text as a sentence that another may follow: with a full stop where it has no end of its own.

    What servers and exceptions say often has none.
    """
    text = text.rstrip()
    return text if not text or text.endswith(_ENDS) else f"{text}."


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that somebody may have meant who wrote `name`, or None where none is near."""
    load("difflib")
    import difflib  # noqa: PLC0415 - only for those who made a mistake

    plain = {each.replace("_", "").lower(): each for each in known}
    found = difflib.get_close_matches(name.replace("_", "").lower(), plain, 1, cutoff=0.6)
    return plain[found[0]] if found else None
