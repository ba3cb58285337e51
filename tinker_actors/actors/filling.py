"""Filling: what is sent under numbers whose requests the server refused.

A gap would stop everything behind it on a server that does not count refused requests, so something without effect is
sent in its place: a `forward` over one token. While it is not known whether the server reads our dialect, the same
request tells (`protocol/dialect.py` has the rule): it is a probe then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tinker_actors.actors.creation import Creation
from tinker_actors.actors.messages import ChunkAccepted, ChunkDone, ChunkFailed
from tinker_actors.actors.pending import ActorSink, Pending
from tinker_actors.actors.service import Service
from tinker_actors.actors.work import Work
from tinker_actors.errors import InvalidInputError
from tinker_actors.protocol.dialect import OTHER, Dialect
from tinker_actors.protocol.operations import Tail, filler, in_dialect, request_head
from tinker_actors.protocol.protobuf.compression import ENCODING, compress_zstd
from tinker_actors.runtime.progress import Tracker

if TYPE_CHECKING:
    from tinker_actors.actors.training import Training


class _Probe(msgspec.Struct):
    """A question to the server: do you read this?

    Attributes:
        pending: the operation it is asked for; its first doubtful chunk lends the number.
        dialect: what the probe that is out is in.
        left: what to try when this one is refused.
    """

    pending: Pending
    dialect: Dialect
    left: list[Dialect]


class Filling:
    """Sends fillers and probes of one model. Part of a training actor; used where it runs."""

    def __init__(self, owner: Training, service: Service, creation: Creation) -> None:
        self._owner = owner
        self._service = service
        self._creation = creation
        self._sent: set[int] = set()
        self._probes: dict[int, _Probe] = {}

    def fill(self, pending: Pending) -> None:
        """Send something without effect under the numbers that a failed submission left open."""
        if self._creation.server_orders:
            for number in pending.open_numbers():
                self._send(pending, number, self._service.dialect.dialect, "forward (filler)")

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
        sent_in = pending.tails[min(pending.doubts)].dialect
        if self._service.dialect.doubts(sent_in):
            self._ask(_Probe(pending, sent_in, [OTHER[sent_in]]))
        else:
            self._owner.take_refusals(pending)

    def heard(self, message: ChunkAccepted | ChunkDone | ChunkFailed) -> bool:
        """Take the story of a filler or probe, and return whether it was one."""
        if message.work_id not in self._sent:
            return False
        probe = self._probes.pop(message.work_id, None)
        if not isinstance(message, ChunkAccepted):
            # Whatever became of a filler: its number is taken now. It has no effect and nobody waits for it.
            self._sent.discard(message.work_id)
        if probe is None:
            return True
        if isinstance(message, ChunkAccepted):
            self._service.dialect.turn_to(probe.dialect, proven=True)
            self._probed(probe.pending, probe.dialect)
        elif probe.left:
            self._ask(_Probe(probe.pending, probe.left[0], probe.left[1:]))
        else:
            self._probed(probe.pending, None)
        return True

    def _probed(self, pending: Pending, dialect: Dialect | None) -> None:
        """Go on with what was refused, now that the server accepted a probe in `dialect`, or none in either."""
        if not self._owner.is_sending(pending):
            return  # given up meanwhile
        refused = pending.tails[min(pending.doubts)]
        pending.filled.add(min(pending.doubts))
        if dialect is None or dialect == refused.dialect or pending.accepted:
            self._owner.take_refusals(pending)
            return
        try:
            tails = [in_dialect(tail, dialect) for tail in pending.tails]
        except InvalidInputError:
            self._owner.take_refusals(pending)
            return
        self.fill(pending)
        self._owner.start_over(pending, tails)

    def _ask(self, probe: _Probe) -> None:
        number = probe.pending.first + min(probe.pending.doubts)
        work = self._send(probe.pending, number, probe.dialect, "forward (probe)")
        self._probes[work.id] = probe
        detail = f"finding out whether the server reads {probe.dialect}"
        probe.pending.future._tracker.enter("waiting for its turn", self._owner.now(), detail)

    def _send(self, pending: Pending, number: int, dialect: Dialect, what: str) -> Work:
        work = self.work(filler(pending.operation.token, dialect), number, Tracker(what, self._owner.now()))
        self._sent.add(work.id)
        self._service.lanes.submit("train", work)
        return work

    def work(self, tail: Tail, number: int, tracker: Tracker, sampler_number: int | None = None) -> Work:
        """Return a work of this model, not handed over yet."""
        assert self._creation.model_id is not None
        head = request_head(tail, self._creation.model_id, number, sampler_number)
        if tail.data:
            tail, head = self._outgoing(tail, head)
        return Work(
            tail,
            head,
            ActorSink(self._owner.actor_ref),
            tracker,
            session=self._service.link,
            resend=self._creation.server_orders,
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
