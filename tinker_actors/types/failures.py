"""Known failures: what a request says of the failures that its caller knew of when he called.

An operation that was called in ignorance of a failure is not applied. Only the client knows what was known, so each
request of a model carries it in a header, which holds for both dialects and leaves the body as it is for a resend.
Only the embedded server reads it, and only to a server that says so in `client/config` is it sent.
"""

from __future__ import annotations

from collections.abc import Iterable

KNOWN_FAILURES = "X-Known-Failures"
"""The header: `3, 7-9` for operations with these `seq_id`s, `*` for all, nothing for none."""

EVERY = range(2**63)
"""Every number there is: who goes on whatever fails."""

_LONGEST = 19  # digits; what a `seq_id` can have


def known_failures_text(numbers: Iterable[range]) -> str:
    """Return the header's value for runs of numbers."""
    found = list(numbers)
    if EVERY in found:
        return "*"
    return runs_text(found)


def runs_text(numbers: Iterable[range]) -> str:
    """Return runs of numbers as text: `3, 7-9`."""
    # By their ends: how long a run of all numbers is, `len` can't say.
    return ", ".join(f"{run[0]}" if run[0] == run[-1] else f"{run[0]}-{run[-1]}" for run in numbers if run)


def known_failures_in(text: str) -> tuple[range, ...]:
    """Return the runs of numbers that a header's value names.

    Raises:
        ValueError: it is not of this form.
    """
    return tuple(_run(part.strip()) for part in text.split(",") if part.strip())


def _run(text: str) -> range:
    if text == "*":
        return EVERY
    first, _, last = text.partition("-")
    if not all(part.isascii() and part.isdigit() and len(part) <= _LONGEST for part in (first, last or first)):
        raise ValueError(f"{text[:50]!r} is no number and no run of numbers")
    return range(int(first), int(last or first) + 1)
