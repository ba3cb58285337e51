"""Rules: what can go wrong, where and how often.

One table says what each kind does and takes, so that a mistyped rule is refused when it is made and not ignored when it
should have struck.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

Kind = Literal[
    "delay",
    "status",
    "reset_before",
    "reset_middle",
    "reset_after",
    "reply_lost",
    "truncated",
    "corrupted",
    "duplicated",
    "session_lost",
    "evicted",
    "paused_rate_limit",
    "paused_capacity",
    "clock_skew",
]
"""What goes wrong; see `KINDS`."""

Place = Literal["aside", "instead", "reply"]

POLL = "retrieve_future"
"""The endpoint that asks for results."""


class KindInfo(msgspec.Struct, frozen=True):
    """What is known about a kind.

    Attributes:
        place: `"aside"`: something happens, and the request goes on; `"instead"`: the core never sees the request;
            `"reply"`: the core handles it, and its answer is spoiled. One request has at most one of the last two.
        takes: the fields that mean something for it.
        needs: the ones of them that must be given.
        polls_only: whether it is about the results of operations, and so strikes polls only.
    """

    place: Place
    takes: frozenset[str] = frozenset()
    needs: frozenset[str] = frozenset()
    polls_only: bool = False


_SECONDS = frozenset({"seconds"})

KINDS: dict[Kind, KindInfo] = {
    "delay": KindInfo("aside", _SECONDS, _SECONDS),
    "status": KindInfo("instead", frozenset({"status", "retry_after", "html", "reason"}), frozenset({"status"})),
    "reset_before": KindInfo("instead"),
    "reset_middle": KindInfo("reply"),
    "reset_after": KindInfo("reply"),
    "reply_lost": KindInfo("reply"),
    "truncated": KindInfo("reply"),
    "corrupted": KindInfo("reply"),
    "duplicated": KindInfo("aside"),
    "session_lost": KindInfo("aside", frozenset({"status"})),
    "evicted": KindInfo("aside", polls_only=True),
    "paused_rate_limit": KindInfo("instead", frozenset({"reason", "seconds", "status"}), polls_only=True),
    "paused_capacity": KindInfo("instead", frozenset({"reason", "seconds", "status"}), polls_only=True),
    "clock_skew": KindInfo("aside", _SECONDS, _SECONDS),
}
"""Every kind there is."""

_STATUSES: dict[Kind, tuple[int, ...]] = {
    "status": tuple(range(200, 600)),
    "session_lost": (404, 410),
    "paused_rate_limit": (200, 408),
    "paused_capacity": (200, 408),
}

_PARAMETERS = ("seconds", "status", "retry_after", "html", "reason")


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One way to misbehave.

    A request *matches* when it is for the endpoint, `of` fits, and `after_step` steps have been applied. Of the
    matching requests the first `after` are spared; of the rest each `every`-th may be struck, by chance `probability`,
    and no more than `times` in all.

    Attributes:
        endpoint: path below `/api/v1/`, e.g. `"optim_step"`; `*` stands for anything, e.g. in `"sessions/*/finish"`.
        kind: what goes wrong:

            - `delay`: `seconds` pass before the request is handled.
            - `status`: answered with `status`, unhandled; `retry_after` seconds as a header, `html` for a page instead
              of JSON, `reason` for the text. With 200 it is an answer that means nothing.
            - `reset_before`, `reset_middle`, `reset_after`: the connection is reset (RST) instead of handling the
              request, in the middle of the answer to it, or right behind that answer.
            - `reply_lost`: handled, then the connection is closed without an answer.
            - `truncated`: the answer ends half way through its body, and the connection is closed.
            - `corrupted`: the first bytes of the body are overwritten by what is neither JSON nor protobuf.
            - `duplicated`: handled twice, one after the other; the second answer is sent.
            - `session_lost`: the session that the request is about ends before it is handled, and answers 410 from then
              on, or 404 with `status=404`.
            - `evicted`: the result that is polled for is dropped; polls for it are answered with 410.
            - `paused_rate_limit`, `paused_capacity`: after `seconds` (default 0.05) the poll is answered "not yet" with
              this queue state and `reason`; as a 408 with `status=408`.
            - `clock_skew`: the core's clock jumps ahead by `seconds`: sessions, links, tokens and TTLs age.
        name: to find the rule by; unique, and part of what chance depends on.
        times: most strikes; None for no limit.
        after: matching requests that are spared first.
        every: of the others, each how many-th is concerned.
        after_step: optimizer steps that must have been applied, by any model, since the rule was added.
        probability: chance of a concerned request to be struck.
        of: for polls: the operation whose result is asked for, e.g. `"optim_step"`; None for any.
        seconds: see `kind`.
        status: see `kind`.
        retry_after: see `kind`.
        html: see `kind`.
        reason: see `kind`.

    Raises:
        ValueError: a field is out of range, missing, or means nothing for this kind.
    """

    endpoint: str
    kind: Kind
    name: str = ""
    times: int | None = None
    after: int = 0
    every: int = 1
    after_step: int = 0
    probability: float = 1.0
    of: str | None = None
    seconds: float | None = None
    status: int | None = None
    retry_after: float | None = None
    html: bool = False
    reason: str | None = None

    def __post_init__(self) -> None:
        info = KINDS[self.kind]
        given = {field for field in _PARAMETERS if _is_given(getattr(self, field))}
        _require(not given - info.takes, f"{self.kind} has no {', '.join(sorted(given - info.takes))}")
        _require(info.needs <= given, f"{self.kind} needs {', '.join(sorted(info.needs - given))}")
        _require(self.endpoint != "", "endpoint must not be empty")
        _require(self.times is None or self.times >= 1, "times must be at least 1")
        _require(self.after >= 0 and self.after_step >= 0, "after and after_step must be 0 or more")
        _require(self.every >= 1, "every must be at least 1")
        _require(0 <= self.probability <= 1, "probability must be 0 to 1")
        for value in (self.seconds, self.retry_after):
            _require(value is None or (math.isfinite(value) and value >= 0), "seconds must be finite and 0 or more")
        _require(
            self.status is None or self.status in _STATUSES[self.kind], f"{self.kind} can't have status {self.status}"
        )

    @property
    def info(self) -> KindInfo:
        """What is known about the rule's kind."""
        return KINDS[self.kind]


def _is_given(value: object) -> bool:
    return value is not None and value is not False  # 0 seconds are given, and to Python they equal False


def make_rule(fields: Mapping[str, Any]) -> Rule:
    """Return a rule from its fields; `kind` is "status" where it is left out and a `status` is given.

    Raises:
        ValueError: they don't make one; the message says why.
    """
    known = {name: value for name, value in fields.items() if value is not None}
    if "status" in known:
        known.setdefault("kind", "status")
    try:
        return msgspec.convert(known, Rule)
    except msgspec.ValidationError as error:
        raise ValueError(f"This is not a fault: {error}") from error


def parse_rule(text: str) -> Rule:
    """Return a rule written as `ENDPOINT:KIND[:FIELD=VALUE...]`, e.g. `optim_step:reply_lost:times=1`.

    The kind may be left out where a `status=` is given. A value can't hold a colon.

    Raises:
        ValueError: the text is not a rule.
    """
    endpoint, *pieces = text.split(":")
    fields: dict[str, Any] = {"endpoint": endpoint}
    if pieces and "=" not in pieces[0]:
        fields["kind"] = pieces.pop(0)
    for piece in pieces:
        name, equals, value = piece.partition("=")
        if not equals:
            raise ValueError(f"{text!r} is not a fault: {piece!r} is not FIELD=VALUE.")
        fields[name] = _value(value)
    return make_rule(fields)


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text


def _require(fine: bool, otherwise: str) -> None:
    if not fine:
        raise ValueError(otherwise)
