"""The training actor: one per model; serialises sends and owns their order.

Operations come in call order, already encoded. Each is handed to the train lane with its numbers, the next one when
the server has accepted it; results come back from the lane, which polls. What a failure does to the operations behind
it is decided in `failing`, and what a refusal may say about our dialect by the service's `DialectChoice`.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from tinker_actors.actors.messages import (
    AcknowledgeFailure,
    Barrier,
    CallFailed,
    ChunkAccepted,
    ChunkDone,
    ChunkFailed,
    DescribeModel,
    DropSession,
    FailureTold,
    HoldSession,
    NumberTaken,
    Perform,
    Release,
    Replied,
    ResumeSession,
    Shutdown,
    TakeNumber,
    TrainingEnded,
    Unfinished,
)
from tinker_actors.actors.model.creation import Creation
from tinker_actors.actors.model.failing import Failing
from tinker_actors.actors.model.number_gaps import Filling
from tinker_actors.actors.model.operation import Pending, settle_error
from tinker_actors.actors.model.origin import Origin
from tinker_actors.actors.model.published import TrainingState
from tinker_actors.actors.service import Service
from tinker_actors.errors import ClientClosedError, TinkerError
from tinker_actors.protocol.consequences import outcome_unknown, preceded
from tinker_actors.protocol.requests.operations import Tail, in_dialect
from tinker_actors.protocol.sending import ended_in_order, has_its_turn
from tinker_actors.runtime.actor import RuntimeActor, tell
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.progress import WaitReason


class Training(RuntimeActor):
    """Owns one model.

    Args:
        service: what it belongs to: session, lanes, rules.
        origin: what to create the model from, and where in the user's code that was asked for.
        ready: settled with the model id when the model is there, or with the error.

    Attributes:
        state: what others may see of it.
    """

    title = "training actor"

    def __init__(self, service: Service, origin: Origin, ready: APIFuture[Any]) -> None:
        super().__init__(service.platform.control)
        self._service = service
        self._creation = Creation(self, service, origin, ready)
        self._failing = Failing(self, service)
        self._filling = Filling(self, service, self._creation, self._failing.order)
        self._queue: deque[Pending] = deque()
        self._sending: Pending | None = None
        self._sent: list[Pending] = []
        self._by_work: dict[int, Pending] = {}
        self._barriers: list[APIFuture[None]] = []
        self._steps = 0  # optimizer steps called
        self._next_number = 1  # number 0 is the model's creation (wire protocol 6.1)
        self.state = TrainingState()
        self._released = False

    def on_start(self) -> None:
        """Begin to create the model."""
        self._creation.begin()

    def receive(self, message: Any) -> Any:  # noqa: PLR0912 - a table
        """Handle a message; see `messages`."""
        if isinstance(message, Perform):
            for each in message.all():
                self._perform(each)
        elif isinstance(message, ChunkAccepted | ChunkDone | ChunkFailed):
            self._heard(message)
        elif isinstance(message, NumberTaken):
            self._number_taken(message)
        elif isinstance(message, Replied | CallFailed):
            self._creation.heard(message)
            self._lift_barriers()
        elif isinstance(message, HoldSession | ResumeSession):
            self._session_changed()
        elif isinstance(message, DropSession):
            self._creation.fail(message.error)
        elif isinstance(message, DescribeModel):
            self._creation.describe_model(message.future, self.state.ended)
        elif isinstance(message, AcknowledgeFailure | FailureTold):
            self._failing.told(message)
            self.advance()
        elif isinstance(message, Release):
            self._released = True
            self._lift_barriers()
        elif isinstance(message, Barrier):
            self._barriers.append(message.future)
            self._lift_barriers()
        elif isinstance(message, Unfinished):
            return [*self._creation.unfinished(), *(each.operation.name for each in (*self._sent, *self._queue))]
        elif isinstance(message, Shutdown):
            self.end(message.error)
        else:
            super().receive(message)
        return None

    def describe(self) -> str:
        """Return the model and how much is queued and sent."""
        if self.state.ended is not None:
            return f"ended: {self.state.ended.message}"
        where = self._creation.model_id or "model being created"
        state = self._failing.order.state
        gate = "" if state == "clean" else f", {state}"
        return f"{where}: {len(self._queue)} queued, {len(self._sent)} sent, next number {self._next_number}{gate}"

    def on_dead_letter(self, message: Any) -> None:
        """Fail the futures of messages that came after the end."""
        error = self.ending
        assert error is not None
        if isinstance(message, Perform):
            for each in message.all():
                settle_error(each, error.replica())
        elif isinstance(message, DescribeModel | Barrier):
            message.future._settle(error=error.replica())

    def settle(self, error: TinkerError) -> None:
        """Fail everything: the handle is dead, and nothing pretends otherwise."""
        self._creation.fail(error)

    # ------------------------------------------------------------ from the creation

    def model_ready(self, *, discards: bool) -> None:
        """Begin to send: the model is there."""
        self._failing.order.discards = discards
        self.advance()
        self._lift_barriers()

    def restore_first(self, pending: Pending) -> None:
        """Put an operation before everything that is queued."""
        self._queue.appendleft(pending)

    @property
    def model_id(self) -> str | None:
        """The server's id of the model, once it is there."""
        return self._creation.model_id

    def give_up(self, error: TinkerError) -> None:
        """Fail everything that waits and everything that comes. Does nothing the second time."""
        if self.state.ended is not None:
            return
        self.state.ended = error
        self._service.tell_registry(TrainingEnded(tuple(self.state.policies), error))
        self._service.lanes.forget("train", tuple(self._by_work))
        pending = [*self._sent, *self._queue]
        self._queue.clear()
        self._sent.clear()
        self._by_work.clear()
        self._sending = None
        for each in pending:
            settle_error(each, error.replica())
        self._lift_barriers()

    # ------------------------------------------------------------ sending

    def _perform(self, message: Perform) -> None:
        pending = Pending(message.operation, message.future, message.sampler)
        pending.place = self._failing.order.call()
        self._steps += message.operation.step
        pending.version = self._steps
        if self.state.ended is not None:
            settle_error(pending, self.state.ended.replica())
            return
        self._note_wait(pending)
        if message.sampler is not None and not tell(
            self._service.session, TakeNumber(self.actor_ref, "sampler", pending)
        ):
            settle_error(pending, TinkerError("The session has ended."))
            return
        self._queue.append(pending)
        self.advance()

    def _note_wait(self, pending: Pending) -> None:
        """Note what something waits for that is queued."""
        otherwise: WaitReason = "waiting for its turn" if self._creation.model_id else "waiting for its model"
        self._service.note_wait(pending.future._tracker, otherwise)

    def _session_changed(self) -> None:
        """Say why nothing is sent, or go on. What was sent the lane holds, that of the creation too."""
        for pending in self._queue:
            self._note_wait(pending)
        self.advance()

    def _number_taken(self, message: NumberTaken) -> None:
        if isinstance(message.why, Pending):
            message.why.sampler_number = message.number
            self.advance()
        else:
            self._creation.number_taken(message)

    def advance(self) -> None:
        """Send what can be sent: one operation at a time, in call order."""
        again = self._sending
        if again is not None and again.anew and not self._filling.keeps_back():
            again.anew = False
            self._take_numbers(again)
            self._hand_over(again)
        while self._queue and self._advance_to(self._queue[0]):
            pass
        self._lift_barriers()

    def _advance_to(self, pending: Pending) -> bool:
        """Send or fail the next operation, if that can be done now; return whether it may be the next one's turn."""
        if not has_its_turn(
            ignorant=self._failing.order.ignorant_of(pending.place) is not None,
            sending=self._sending is not None,
            held=self._service.recovering,
            model=self._creation.model_id is not None,
            sampler_number=pending.sampler is None or pending.sampler_number is not None,
            gap=self._filling.keeps_back,
        ):
            return False
        found = self._failing.admits(pending)
        if found == "wait":
            return False
        if found == "discard":
            pending = self._failing.discarding(pending.place)
        else:
            self._queue.popleft()
        if found in ("send", "discard"):
            self._send(pending)
        return True

    def _send(self, pending: Pending) -> None:
        self._take_numbers(pending)
        self._sending = pending
        self._sent.append(pending)
        self._hand_over(pending)

    def _take_numbers(self, pending: Pending) -> None:
        self._next_number = pending.plan(self._next_number, server_orders=self._creation.server_orders)

    def _hand_over(self, pending: Pending) -> None:
        """Hand the next stage to the lane, or, behind the last, let the next operation go."""
        following = pending.next_on_the_way
        if following == "resolve":
            self._filling.resolve(pending)
            return
        if following == "stage":
            for index in pending.stages.pop(0):
                self.hand_over_chunk(pending, index)
            return
        self._sending = None
        if following == "failed":
            pending.stages.clear()
            self._filling.fill(pending)
        self.advance()

    def hand_over_chunk(self, pending: Pending, index: int) -> None:
        """Hand one request of an operation to the lane, under the number that it has."""
        tail = pending.tails[index]
        if tail.data and self._service.dialect.dialect == "json":
            # Encoded before that was known. In the other direction a 415 asks for it: not all data have that form.
            tail = pending.tails[index] = in_dialect(tail, "json")
        tracker, known = pending.future._tracker, self._failing.known(pending)
        work = self._filling.work(tail, pending.first + index, tracker, pending.sampler_number, known)
        pending.handed[work.id] = index
        self._by_work[work.id] = pending
        self._service.lanes.submit("train", work)

    # ------------------------------------------------------------ from the filling

    def is_sending(self, pending: Pending) -> bool:
        """Return whether this operation is the one on its way out; it may have been given up."""
        return self._sending is pending

    def start_over(self, pending: Pending, tails: list[Tail]) -> None:
        """Send an operation of which the server took nothing anew, in these words and under new numbers."""
        pending.start_over(tails)
        self.advance()

    def unfilled(self, number: int, error: TinkerError, last: int) -> None:
        """Fail what is behind a number that can't be filled, up to the call at `last`, and go on."""
        self._failing.cause_of(error)  # one for all of them
        for pending in list(self._sent):
            self._abandon(pending, number, error)
        self._drop_queue(error, last)
        self._settle_concluded()

    def _abandon(self, pending: Pending, number: int, error: TinkerError) -> None:
        """Give up those requests of an operation that the server holds, or would hold, behind an open number."""
        stuck = pending.behind(number, self._by_work)
        if not stuck and not pending.anew:
            return
        for work_id in stuck:
            del self._by_work[work_id]
            pending.failed.add(pending.handed[work_id])
        pending.uncertain = pending.uncertain or bool(stuck)  # once the number is filled, the server may come to them
        self._failed(pending, preceded(pending.operation, error))
        if self._sending is pending:
            self._sending = None

    def take_refusals(self, pending: Pending) -> None:
        """Take the refusals of a pending operation's data at their word."""
        doubts, pending.doubts = pending.doubts, {}
        for index, message in doubts.items():
            pending.failed.add(index)
            self._chunk_failed(pending, message)
        self._hand_over(pending)
        self._settle_concluded()

    # ------------------------------------------------------------ hearing back

    def _heard(self, message: ChunkAccepted | ChunkDone | ChunkFailed) -> None:
        if self._creation.work_id == message.work_id:
            self._creation.heard(message)
            return
        if self._filling.heard(message):
            return
        pending = self._by_work.get(message.work_id)
        if pending is None:
            return  # given up already
        index = pending.handed[message.work_id]
        if isinstance(message, ChunkAccepted):
            pending.accepted.add(index)
            if pending.tails[index].data:
                self._service.dialect.accepted(pending.tails[index].dialect)
            if len(pending.accepted) == len(pending.tails):
                pending.future._accept(message.outcome.request_id)
                self._failing.order.accepted(pending.place)
        elif isinstance(message, ChunkDone):
            pending.results[index] = message.outcome.value
            del self._by_work[message.work_id]
        else:
            del self._by_work[message.work_id]
            if not self._filling.redress(pending, index, message):
                pending.failed.add(index)
                self._chunk_failed(pending, message)
        if self._sending is pending and not pending.submitting:
            self._hand_over(pending)
        self._settle_concluded()

    def _chunk_failed(self, pending: Pending, message: ChunkFailed) -> None:
        pending.doubt(message.error, accepted=message.accepted)
        self._failed(pending, message.error)
        if outcome_unknown(message.error):
            self._drop_queue(message.error, self._failing.order.last_ignorant(pending.place))

    def _failed(self, pending: Pending, error: TinkerError) -> None:
        """Note the failure of a part of an operation. That of a gradient is final; others wait for the other parts."""
        if not pending.fails(error):
            return
        self._failing.failed(pending, error)
        if pending.operation.gradient:
            settle_error(pending, error)

    def _drop_queue(self, error: TinkerError, last: int) -> None:
        """Fail what was not sent yet, up to the call at `last`: it was meant for weights that nobody knows now."""
        while self._queue and self._queue[0].place <= last:
            self._failing.keep_back(self._queue.popleft(), error)
        self._lift_barriers()

    # ------------------------------------------------------------ settling

    def _settle_concluded(self) -> None:
        for pending in ended_in_order(self._sent, self._sending):
            self._sent.remove(pending)
            self._settle(pending)
        self.advance()

    def _settle(self, pending: Pending) -> None:
        error = self._failing.conclude(pending)
        if error is not None:
            settle_error(pending, error)
            return
        pending.adopt(self._creation.base_model)
        pending.tell_story(self._service.story, self._creation.model_id)
        pending.future._settle(pending.values())

    def _lift_barriers(self) -> None:
        if self._queue or self._sent or self._creation.asked_about:
            return
        if self._creation.decided:
            barriers, self._barriers = self._barriers, []
            for future in barriers:
                future._settle(None)
        if self._released and not self._barriers:
            self._released = False
            self.end(ClientClosedError("The training client was dropped."))
