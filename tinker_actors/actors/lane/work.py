"""Work: what a lane carries.

`Work` is an operation that is submitted, polled for and finished; `Call` a plain request and its reply. Both live in a
table that outlives the lane, so that a successor can go on where a dead lane stopped.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol

from tinker_actors.actors.lane.idempotency import idempotency_key
from tinker_actors.actors.lane.options import DEFAULT_TERMS, PRIORITIES, Terms
from tinker_actors.errors import TinkerError
from tinker_actors.net.transport import Ticket
from tinker_actors.protocol.endpoints import Endpoint
from tinker_actors.protocol.replies.completions import Channel
from tinker_actors.protocol.replies.outcomes import Accepted, Done
from tinker_actors.protocol.replies.plain import Read
from tinker_actors.protocol.requests.operations import Tail
from tinker_actors.protocol.session_life import SessionLife
from tinker_actors.protocol.work_life import State
from tinker_actors.runtime.actor import Ref
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.progress import Tracker, WaitReason
from tinker_actors.runtime.timers import Timer

if TYPE_CHECKING:
    from tinker_actors.actors.lane.retrying import Wait

_ids = itertools.count(1)

Way = Literal["hear", "look", "fetch"]
"""How an accepted work's result is got next: by hearing of its end if that can be, by asking for it directly, or, its
end being known, by fetching it."""

_RANKS = {priority: rank for rank, priority in enumerate(PRIORITIES)}


class SessionLink(SessionLife):
    """A session as the lanes see it: a name to find its work by, its state, and whom to ask about it.

    Attributes:
        ref: the session actor.
    """

    __slots__ = ("ref",)

    def __init__(self) -> None:
        super().__init__()
        self.ref: Ref | None = None


class Sink(Protocol):
    """Where a work's story goes. Called on the lane's thread; must not block."""

    def accepted(self, work: Work, outcome: Accepted) -> None:
        """Hear that the server accepted the operation."""
        ...

    def read(self, work: Work, content_type: str, body: bytes) -> Any:
        """Read the result.

        Raises:
            APIResponseValidationError: it is none, or not that of this work; it is asked for again.
        """
        ...

    def done(self, work: Work, outcome: Done) -> None:
        """Take the result. The work is over."""
        ...

    def failed(self, work: Work, error: TinkerError) -> None:
        """Take the failure. The work is over."""
        ...

    def owed(self) -> APIFuture[Any] | None:
        """Return the future that hears of the work from nobody else and will be decided without any further call.

        None for what an actor looks after. Called on any thread.
        """
        ...

    def gone(self, work: Work, error: TinkerError) -> bool:
        """Say whether to submit anew after the server forgot an accepted operation, the session being well.

        A sink that says yes has given the work a new head; one that says no has the work failed.
        """
        ...


class Admission(Protocol):
    """What tells a lane whether the sampler a work is for is ready."""

    def head(self) -> bytes | TinkerError | None:
        """Return the request's head, the error to fail with, or None while it is not known. Lock-free."""
        ...

    @property
    def key(self) -> int:
        """The registry key that will change when the head can be known."""
        ...

    @property
    def reason(self) -> WaitReason:
        """What is waited for while the head is not known."""
        ...

    @property
    def channel(self) -> tuple[str, int] | None:
        """The sampling session and clone whose completions tell of the accepted work, or None to ask for it alone."""
        ...


class Work:
    """One operation on its way to the server and back.

    Owned by one lane at a time; only that lane's thread changes it.

    Args:
        tail: the encoded request without its head.
        head: the head, or None when `admission` will give it.
        sink: where the story goes.
        tracker: where it stands, for the user.
        session: the session it belongs to, or None when 404 and 410 are final.
        admission: the sampler it waits for, or None.
        resend: whether a submission whose answer was lost may be sent again, unchanged.
        terms: how a view of a sampler wants it carried.

    Attributes:
        state: where it stands; `protocol/work_life.py` has the states and what may follow each.
        rank: its urgency, see `protocol/limits/lines.py`.
        roomed: whether it holds a place in its room.
        at_server: whether it counts as accepted and unfinished for the adaptive limit.
        number: the adaptive limit's number of its last submission.
        channel: where its end is heard of, once it was waited for there.
        told: whether the server said that it is over; it says so once.
        in_doubt: whether the answer to a submission of it was lost, so that the server may have accepted it.
        failures: requests in a row that failed and will be repeated.
        limited: of these, those that failed in a way that is repeated only so often.
        asked: when the result was asked for last.
        soon: how often in a row the server answered "not yet" without holding the question.
        size: bytes of the result, as far as the server told; reserved while it is fetched.
        repeats: requests that were repeated after a passing failure.
        unreadable: answers that claimed to be its result and could not be read.
    """

    __slots__ = (
        "admission", "asked", "at_server", "channel", "charge", "deadline", "error", "failures", "first_sent", "head",
        "holder", "id", "idempotency_key", "in_doubt", "last_sign", "limited", "number", "paused", "rank",
        "renewals", "repeats", "request_id", "resend", "roomed", "session", "sink", "size", "soon", "state", "tail",
        "terms", "ticket", "timer", "told", "tracker", "unreadable", "way",
    )  # fmt: skip

    def __init__(
        self,
        tail: Tail,
        head: bytes | None,
        sink: Sink,
        tracker: Tracker,
        *,
        session: SessionLink | None = None,
        admission: Admission | None = None,
        resend: bool = True,
        terms: Terms = DEFAULT_TERMS,
    ) -> None:
        self.id = next(_ids)
        self.terms = terms
        self.rank = _RANKS[terms.priority]
        self.tail = tail
        self.head = head
        self.sink = sink
        self.tracker = tracker
        self.session = session
        self.admission = admission
        self.resend = resend
        self.state: State = "new"
        self.idempotency_key = ""
        self.request_id: str | None = None
        self.charge = self.number = self.size = 0
        self.failures = self.limited = self.repeats = self.soon = self.unreadable = 0
        self.asked = 0.0
        self.roomed = self.at_server = self.told = self.in_doubt = False
        self.way: Way = "hear"
        self.channel: Channel | None = None
        self.paused = False
        self.renewals = 0
        self.first_sent: float | None = None
        self.last_sign: float | None = None
        self.error: TinkerError | None = None
        self.timer: Timer | Wait | None = None
        self.deadline: Timer | None = None
        self.ticket: Ticket | None = None
        self.holder: object | None = None

    def renew(self, head: bytes) -> None:
        """Become a new request with the same content: new head, new idempotency key, no history at the server."""
        self.head = head
        self.idempotency_key = ""
        self.request_id = None
        self.channel = None
        self.way = "hear"
        self.told = self.in_doubt = self.paused = False
        self.size = self.unreadable = 0
        self.state = "new"
        self.renewals += 1


class Call:
    """A plain request and its reply.

    Args:
        what: its name, for messages.
        endpoint: method, path, whether it is retried, and whether it carries an idempotency key.
        body: the body, already encoded.
        on_done: called on the lane's thread with the reply.
        on_failed: called on the lane's thread with the error.
        path: the path with its ids filled in, where it has any.
        read: reads the reply; what can't be read is asked for again. Default: as the endpoint says.
        session: the session it belongs to, or None when 404 and 410 are final.
        patience: seconds after the first send at which it is given up, whatever is under way then.
        timeout: seconds for one attempt; default: the lane's.

    Attributes:
        aside: why it is kept aside: its session is asked whether it is still there, or is lost. Empty while it is not.
    """

    __slots__ = (
        "aside",
        "attempts",
        "body",
        "deadline",
        "error",
        "failures",
        "first_sent",
        "holder",
        "id",
        "idempotency_key",
        "limited",
        "method",
        "on_done",
        "on_failed",
        "path",
        "patience",
        "read",
        "retried",
        "sent",
        "session",
        "ticket",
        "timeout",
        "timer",
        "what",
    )

    def __init__(
        self,
        what: str,
        endpoint: Endpoint,
        body: bytes,
        on_done: Callable[[Done], Any],
        on_failed: Callable[[TinkerError], Any],
        *,
        path: str | None = None,
        read: Read | None = None,
        session: SessionLink | None = None,
        patience: float | None = None,
        timeout: float | None = None,
    ) -> None:
        self.id = next(_ids)
        self.what = what
        self.method = endpoint.method
        self.path = path or endpoint.path
        self.idempotency_key = idempotency_key() if endpoint.creates else ""
        self.body = body
        self.on_done = on_done
        self.on_failed = on_failed
        self.read = read or endpoint.read
        self.session = session
        self.retried = endpoint.retried
        self.patience = patience
        self.timeout = timeout
        self.aside: Literal["", "suspect", "held"] = ""
        self.attempts = self.failures = self.limited = 0
        self.sent = 0.0
        self.first_sent: float | None = None
        self.error: TinkerError | None = None
        self.timer: Timer | Wait | None = None
        self.deadline: Timer | None = None
        self.ticket: Ticket | None = None
        self.holder: object | None = None
