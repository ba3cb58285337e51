"""Collisions: what a lane does when the server gives a second operation a request id that another one has.

Either the answer was another's, or the server keeps both results in one place. Nobody can tell which, so neither of
them takes a result under that id any more. A sample is submitted anew. A training operation can't be: the second one
asks again under its own number, by which the server knows it; if it hears of another id, the first keeps its own, else
what became of them is not known.

What is stored in one place can be overwritten before the client hears of it. So until a server has given different ids
for a while, at first and after a collision, a result waits until every submission that was out when it came has been
answered: each could turn out to have the same id. A server that has given them is trusted once it has answered what was
out at that time too. At first, when nothing speaks against the server, only samples wait, and for a moment.

A submission whose answer was lost is sent again with its key. Where the server does not know it by that, it keeps a
result under an id that nobody here has heard of; that one can't be guarded against.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tinker_actors.actors.lane.work import Call, Work
from tinker_actors.errors import OutcomeUnknownError, TinkerError
from tinker_actors.protocol.endpoints import TYPE_SAMPLE
from tinker_actors.protocol.replies.outcomes import Failed, Retry, taken_id

if TYPE_CHECKING:
    from tinker_actors.actors.lane.table import Desk


# So long, in seconds, a result waits for submissions while the server has not mixed anything up.
_PATIENCE = 0.25


class _Held:
    """The end of a work that waits for submissions to be answered."""

    __slots__ = ("end", "out", "request_id", "work")

    def __init__(self, work: Work, end: Callable[[], object], out: set[int]) -> None:
        self.work, self.end, self.out = work, end, out
        self.request_id = work.request_id


class Collisions:
    """The sorting hand of a lane; used on its thread only.

    Attributes:
        held: ends that wait; empty while the server is trusted, and looked at for that only.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.held: list[_Held] = []
        self._last: set[int] | None = None

    def refuse(self, work: Work, request_id: str) -> Retry | Failed:
        """Return what to do about a work whose submission was answered with an id that it may not have."""
        self._last = None
        first = self._desk.request_ids.whose(request_id)
        if work.tail.request_type != TYPE_SAMPLE and first is not None and (work.limited or not work.resend):
            self._desk.fail(first, _not_known(first, work, request_id))
            return Failed(_not_known(work, first, request_id))
        retry = taken_id(work.tracker.what, request_id)
        self.contest(request_id, retry.error)
        # The first answer may have been another's, so the same request is sent again; the second was not.
        if work.tail.request_type == TYPE_SAMPLE and work.limited and not work.sink.gone(work, retry.error):
            return Failed(retry.error)
        return retry

    def contest(self, request_id: str, error: TinkerError) -> None:
        """Have a sample that has an id which was given twice be submitted anew."""
        desk = self._desk
        first = desk.request_ids.whose(request_id)
        if first is None or first.tail.request_type != TYPE_SAMPLE or first.state == "suspect":
            return
        held = first.state == "held"
        desk.stop(first)
        # The server is not told to cancel it: by now the id may be that of a third.
        desk.request_ids.end(request_id, desk.now())
        if not desk.renewed(first, error):
            desk.fail(first, error)
        elif held:
            desk.holding.hold(first)
        else:
            desk.submitting.take_later(first, "the server gave its request id to another")

    def hold(self, work: Work, end: Callable[[], object]) -> bool:
        """Have the end of a work wait, if its result may be another's for all that is known yet; return whether so."""
        desk = self._desk
        ids = desk.request_ids
        if ids.due and self._all_answered():
            ids.trust()
            return False
        if not (ids.mixed or (ids.doubted and work.tail.request_type == TYPE_SAMPLE)):
            return False
        out = self._out()
        if not out:
            return False
        desk.submitting.left_server(work)  # what is waited for may need its place
        held = _Held(work, end, out)
        self.held.append(held)
        if not ids.mixed:
            desk.later(_PATIENCE, lambda: self._waited(held))
        return True

    def _out(self) -> set[int]:
        # Of a copy, made in one call into the interpreter: callers add to the table meanwhile.
        return {item.id for item in list(self._desk.table.values()) if _is_out(item)}

    def _still_out(self, numbers: set[int]) -> set[int]:
        table = self._desk.table
        return {number for number in numbers if (item := table.get(number)) is not None and _is_out(item)}

    def _all_answered(self) -> bool:
        """Return whether all is answered that was out when trust was due first."""
        self._last = self._out() if self._last is None else self._still_out(self._last)
        return not self._last

    def _waited(self, held: _Held) -> None:
        """Let one end that has waited for long enough, if nothing was mixed up meanwhile."""
        if held in self.held and not self._desk.request_ids.mixed:
            held.out.clear()
            self._desk.go_on()

    def look(self) -> None:
        """Let those end whose submissions are answered."""
        table = self._desk.table
        held, self.held = self.held, []
        for each in held:
            if each.work.id not in table or each.work.request_id != each.request_id:
                continue  # it was given up, or has lost its id
            each.out = self._still_out(each.out)
            if each.out:
                self.held.append(each)
            else:
                each.end()


def _is_out(item: Work | Call) -> bool:
    """Return whether the server may know of an operation under an id that is not known here."""
    if isinstance(item, Work):
        return item.request_id is None and (item.state == "submitting" or item.in_doubt)
    return item.what == TYPE_SAMPLE


def _not_known(work: Work, other: Work, request_id: str) -> OutcomeUnknownError:
    return OutcomeUnknownError(
        f"The server gave {work.tracker.what} and {other.tracker.what} one request id, {request_id!r}: whose result it "
        f"keeps there can't be told.",
        request_id=request_id,
    )
