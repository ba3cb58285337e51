"""Filling: sends what goes under numbers whose requests the server refused. Applies `protocol/number_gaps.py`.

What is offered is a `forward` over one token. While it is not known whether the server reads our dialect, the same
request tells (the rule is in `protocol/requests/dialect.py`): it is a probe then.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from tinker_actors.actors.lane.work import Work
from tinker_actors.actors.messages import ChunkAccepted, ChunkDone, ChunkFailed
from tinker_actors.actors.model.creation import Creation
from tinker_actors.actors.model.operation import ActorSink, Pending
from tinker_actors.actors.service import Service
from tinker_actors.errors import InvalidInputError
from tinker_actors.protocol.codec.protobuf.compression import ENCODING, compress_zstd
from tinker_actors.protocol.consequences import never_filled
from tinker_actors.protocol.endpoints import TYPE_FORWARD
from tinker_actors.protocol.number_gaps import Action, Gaps, Offer, Probed, Unfilled
from tinker_actors.protocol.order import Order
from tinker_actors.protocol.requests.dialect import OTHER, Dialect, resends
from tinker_actors.protocol.requests.operations import Tail, filler, in_dialect, request_head
from tinker_actors.runtime.progress import Tracker
from tinker_actors.types.failures import KNOWN_FAILURES, known_failures_text

if TYPE_CHECKING:
    from tinker_actors.actors.model.actor import Training


class Filling:
    """Sends fillers and probes of one model. Part of a training actor; used where it runs."""

    def __init__(self, owner: Training, service: Service, creation: Creation, order: Order) -> None:
        self._owner = owner
        self._service = service
        self._creation = creation
        self._order = order
        self._gaps = Gaps()
        self._sent: set[int] = set()  # work ids whose story is not over
        self._offers: dict[int, Offer] = {}  # of these, those that were neither taken nor refused
        self._probed: dict[int, Pending] = {}  # whose doubts the probe under a number is to clear

    def fill(self, pending: Pending) -> None:
        """Send something without effect under the numbers that a failed submission left open.

        The owner goes on when that is over, or hears `unfilled`; it sends nothing before.
        """
        numbers = pending.open_numbers() if self._creation.server_orders else []
        dialects = self._service.dialect.in_place()
        self._do(self._gaps.fill(numbers, pending.operation.token, dialects, self._order.calls))

    def keeps_back(self) -> bool:
        """Return whether nothing may be sent, because a number is open. If nobody does, try to fill it."""
        if self._gaps.open:
            self._do(self._gaps.try_again(self._service.dialect.in_place(), self._order.calls))
        return self._gaps.open

    def _do(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if isinstance(action, Offer):
                self._offer(action)
            elif isinstance(action, Probed):
                self._go_on_with(self._probed.pop(action.number), action.dialect)
            elif isinstance(action, Unfilled):
                self._owner.unfilled(action.number, never_filled(action.number, action.refusal), action.since)
            else:
                self._owner.advance()

    def redress(self, pending: Pending, index: int, message: ChunkFailed) -> bool:
        """Return whether a refusal is not the operation's failure yet, and do what it asks for."""
        tail = pending.tails[index]
        if not tail.data or message.accepted or pending.error is not None:
            return False
        remedy = self._service.dialect.remedy(tail.dialect, message.error.status_code)
        if remedy == "probe":
            pending.doubts[index] = message
            return True
        return remedy == "resend" and index not in pending.turned and self._turn(pending, index, message)

    def _turn(self, pending: Pending, index: int, message: ChunkFailed) -> bool:
        """Send a chunk in the other dialect, under the same number. Return False where it has no form there."""
        other = OTHER[pending.tails[index].dialect]
        try:
            pending.tails[index] = in_dialect(pending.tails[index], other)
        except InvalidInputError as error:
            message.error.add_note(f"It can't be sent in {other} either: {error.message}")
            return False
        self._service.dialect.turn_to(other)
        pending.turned.add(index)
        del pending.handed[message.work_id]
        self._owner.hand_over_chunk(pending, index)
        return True

    def resolve(self, pending: Pending) -> None:
        """Find out whether the server refused the dialect or the data, unless that is known by now.

        It is asked first in the dialect that was refused; what it accepts fills the number.
        """
        index = min(pending.doubts)
        sent_in = pending.tails[index].dialect
        if not self._service.dialect.doubts(sent_in):
            self._owner.take_refusals(pending)
            return
        pending.filled.add(index)
        self._probed[pending.first + index] = pending
        self._offer(
            self._gaps.probe(
                pending.first + index,
                pending.operation.token,
                [sent_in, OTHER[sent_in]],
                self._order.calls,
                waits=self._creation.server_orders,
            )
        )

    def heard(self, message: ChunkAccepted | ChunkDone | ChunkFailed) -> bool:
        """Take the story of a filler or probe, and return whether it was one."""
        if message.work_id not in self._sent:
            return False
        if not isinstance(message, ChunkAccepted):
            self._sent.discard(message.work_id)
        offer = self._offers.pop(message.work_id, None)
        if offer is None:
            return True  # it was taken before; what becomes of it matters to nobody
        refusal = message.error if isinstance(message, ChunkFailed) else None
        self._do(self._gaps.answered(offer, taken=isinstance(message, ChunkAccepted), refusal=refusal))
        return True

    def _go_on_with(self, pending: Pending, dialect: Dialect | None) -> None:
        """Go on with what was refused, now that the server accepted a probe in `dialect`, or none in either."""
        if dialect is not None:
            self._service.dialect.turn_to(dialect, proven=True)
        if not self._owner.is_sending(pending):
            return  # given up meanwhile
        refused = pending.tails[min(pending.doubts)]
        if dialect is None or not resends(dialect, refused.dialect, in_part=bool(pending.accepted)):
            self._owner.take_refusals(pending)
            return
        try:
            tails = [in_dialect(tail, dialect) for tail in pending.tails]
        except InvalidInputError:
            self._owner.take_refusals(pending)
            return
        self.fill(pending)
        self._owner.start_over(pending, tails)

    def _offer(self, offer: Offer) -> None:
        what = "forward (filler)"
        if offer.probe:
            what = "forward (probe)"
            detail = f"finding out whether the server reads {offer.dialect}"
            self._probed[offer.number].future._tracker.enter("waiting for its turn", self._owner.now(), detail)
        work = self.work(filler(offer.token, offer.dialect), offer.number, Tracker(what, self._owner.now()))
        self._sent.add(work.id)
        self._offers[work.id] = offer
        self._service.lanes.submit("train", work)

    def work(
        self,
        tail: Tail,
        number: int,
        tracker: Tracker,
        sampler_number: int | None = None,
        known: tuple[range, ...] | None = None,
    ) -> Work:
        """Return a work of this model, not handed over yet; `known`: what to say of failures that its caller knew."""
        assert self._creation.model_id is not None
        head = request_head(tail, self._creation.model_id, number, sampler_number)
        if tail.data:
            tail, head = self._outgoing(tail, head)
        if known is not None:
            headers = (*tail.headers, (KNOWN_FAILURES, known_failures_text(known)))
            tail = msgspec.structs.replace(tail, headers=headers)
        return Work(
            tail,
            head,
            ActorSink(self._owner.actor_ref),
            tracker,
            session=self._service.link,
            # What has no effect may be repeated on every server; some close a connection, unannounced, behind a 500.
            resend=self._creation.server_orders or tail.request_type == TYPE_FORWARD,
        )

    def _outgoing(self, tail: Tail, head: bytes) -> tuple[Tail, bytes]:
        """Return a data request as it goes out: compressed where the server wants that, marked while in doubt."""
        tail = msgspec.structs.replace(tail, doubtful=self._service.dialect.doubts(tail.dialect))
        if tail.dialect == "protobuf" and self._service.server.proto_compress_fwdbwd:
            packed = compress_zstd(head + tail.body)
            if packed is not None:
                headers = (("Content-Encoding", ENCODING),)
                return msgspec.structs.replace(tail, body=packed, headers=headers), b""
        return tail, head
