"""Cancelling: telling the server which samples nobody wants any more.

A few at a time, because a step of training may drop thousands at once, and what is wanted goes first. What was given up
while it was being submitted has no name yet by which it could be cancelled: its submission is kept until the answer
tells it. Where the answer is lost, the same request is sent once more, because the server may have accepted it.
"""

from __future__ import annotations

from collections import deque
from functools import partial

from tinker_actors.actors.lane.plain_requests import Calling
from tinker_actors.actors.lane.table import Desk
from tinker_actors.actors.lane.work import Call, Work
from tinker_actors.errors import APIConnectionError, APIError, TinkerError
from tinker_actors.net.transport import Answer
from tinker_actors.protocol.codec.wire_json import encode
from tinker_actors.protocol.consequences import answer_lost
from tinker_actors.protocol.endpoints import ENDPOINTS, Endpoint
from tinker_actors.protocol.replies.outcomes import Done, Retry, taken_id
from tinker_actors.protocol.replies.plain import future_id
from tinker_actors.runtime.actor import logger

_AT_A_TIME = 16


class Cancelling:
    """The cancelling hand of a lane; used on its thread only.

    All it has to do is in the table, so that a successor of the lane goes on with it.
    """

    def __init__(self, desk: Desk, calling: Calling) -> None:
        self._desk = desk
        self._calling = calling
        self._patience = desk.config.request_timeout
        self._line: deque[Call] = deque()
        self._out = 0

    def cancel(self, request_id: str) -> None:
        """Tell the server, soon. What it answers changes nothing."""

        def done(_: Done) -> None:
            self._ended()

        def failed(error: TinkerError) -> None:
            logger.debug("The server did not cancel %s: %s", request_id, error)
            self._ended()

        body = encode({"request_id": request_id})
        call = Call("cancel_future", ENDPOINTS["cancel_future"], body, done, failed, patience=self._patience)
        self._line.append(self._enter(call))
        self._next()

    def take_over(self, work: Work) -> Call | None:
        """See to it that the server cancels a sample that is about to be ended here, if it knows of it.

        Returns:
            What stands for the submission that is under way, from which the sample's id is to be learned; its answer
            belongs to `answered`. None where none is.
        """
        if work.request_id is not None:
            self.cancel(work.request_id)
        elif work.state == "submitting" and work.ticket is not None and work.ticket.seen:
            submission = self._enter(self._submission(work))
            submission.ticket, work.ticket = work.ticket, None
            return submission
        elif work.in_doubt:
            self._ask_again(work, APIConnectionError("The answer to its submission was lost."))
        return None

    def answered(self, submission: Call, answer: Answer) -> None:
        """Take the answer to a submission that was kept."""
        self._calling.answered(submission, answer)

    def _enter(self, call: Call) -> Call:
        call.holder = self._desk
        self._desk.table[call.id] = call
        return call

    # ------------------------------------------------------------ telling the server

    def _next(self) -> None:
        while self._line and self._out < _AT_A_TIME:
            self._out += 1
            self._calling.begin(self._line.popleft())

    def _ended(self) -> None:
        self._out -= 1
        self._next()

    # ------------------------------------------------------------ learning the id

    def _ask_again(self, work: Work, error: TinkerError) -> None:
        """Send a submission whose answer was lost once more: the server answers with the id that it has."""
        call = self._enter(self._submission(work, again=True))
        go = partial(self._calling.send, call)
        self._desk.retrying.again(call.what, call, self._desk.now(), Retry("connection", error), go)

    def _submission(self, work: Work, *, again: bool = False) -> Call:
        """Return a submission of which only the id is wanted: the one under way, or the same `again`."""
        counted = self._desk.submitting

        def hand() -> Cancelling:
            desk = call.holder  # a successor's, maybe
            assert isinstance(desk, Desk)
            return desk.cancelling

        def read(content_type: str, body: bytes) -> str:
            request_id = future_id(content_type, body)
            desk = hand()._desk
            if not desk.request_ids.take(request_id, work.first_sent or 0.0, work):
                error = taken_id(call.what, request_id).error
                desk.collisions.contest(request_id, error)
                raise error  # to cancel it would be to cancel another's
            desk.request_ids.end(request_id, desk.now())
            return request_id

        def accepted(outcome: Done) -> None:
            if not again:
                counted.dropped(work)
            hand().cancel(outcome.value)

        def failed(error: TinkerError) -> None:
            if not again:
                counted.dropped(work)
                if answer_lost(error) or (work.in_doubt and isinstance(error, APIError)):
                    hand()._ask_again(work, error)
                    return
            logger.debug("What nobody wants any more was not accepted, or can't be cancelled: %s", error)

        assert work.head is not None
        call = Call(
            work.tail.request_type,
            Endpoint("POST", work.tail.path, creates=True, retried=again),
            work.head + work.tail.body,
            accepted,
            failed,
            read=read,
            patience=self._patience if again else None,
        )
        call.idempotency_key = work.idempotency_key
        return call
