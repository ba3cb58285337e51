"""The order of a model's operations: what a failure does to those behind it.

No operation is applied that was called in ignorance of a failure; what the caller has been told does not stop what he
calls next. He is *told* when a failure is raised to him, delivered to a callback, or acknowledged: by that he goes on
whatever becomes of what he called before, also of what fails only afterwards. A *fault* is the failure of an operation
that others build on: a gradient, an optimizer step, the restoring of a checkpoint.

    the operation was called                 what becomes of it
    ---------------------------------------  --------------------------------------------------------------------
    before its caller was told of a fault    it is ignorant: it fails and is not sent, with what it closes stranded
    behind a restore under way               it waits, unless the server would refuse it should the restore fail
    afterwards, and it is no gradient/step   it is sent: one must be able to save before one gives up
    afterwards, a gradient or step:
      an ignorant step applied gradients     tainted, until a checkpoint is restored or a person acknowledges
      what a fault left, or becomes of what  it waits
      was acknowledged, is not known yet
      gradients are stranded on the server   they are discarded first; where no server can do that: tainted
      nothing of this                        it is sent; earlier gradients of its step count

Gradients are *stranded* when the step that would have applied them was not sent, or when a part of an operation was
computed and the rest was not. An ignorant operation that the server had accepted already can't be called back: a
server that reads what its caller knew refuses it (`STEP_ENDS` has what follows from its end), others apply it. A step
whose gradients were all refused leaves nothing there either: it had nothing to apply.
"""

from __future__ import annotations

from typing import Any, Literal

from tinker_actors.errors import PrecedingOperationFailed, TinkerError
from tinker_actors.protocol.consequences import Left, advice_behind, applied_behind, preceded, tainted
from tinker_actors.protocol.requests.operations import Operation
from tinker_actors.protocol.sending import Ended, Sending
from tinker_actors.protocol.told import Fault, Told
from tinker_actors.types.failures import EVERY

Kind = Literal["gradient", "step", "restore", "other"]
Verdict = Literal["send", "wait", "discard", "ignorant", "tainted"]
Effect = Literal["nothing", "kept", "stranded", "spoiled"]

STEP_ENDS: dict[tuple[bool, Ended], Effect] = {
    (False, "applied"): "nothing",
    (False, "refused"): "nothing",
    (False, "failed"): "kept",
    (False, "unknown"): "kept",
    (True, "applied"): "spoiled",
    (True, "refused"): "nothing",
    (True, "failed"): "stranded",
    (True, "unknown"): "spoiled",
}
"""What an optimizer step leaves that had gradients, by whether it was sent in ignorance of a fault and how it ended.

One that had none leaves nothing, however it ended. `"refused"` means that the server discarded its gradients, `"kept"`
that they count for the next step."""


def verdict(
    kind: Kind,
    *,
    ignorant: bool,
    spoiled: bool = False,
    restoring: bool = False,
    unsettled: bool = False,
    stranded: bool = False,
    discards: bool,
) -> Verdict:
    """Return what becomes of an operation whose turn it is; the module has the table.

    Args:
        kind: of the operation.
        ignorant: it was called before its caller was told of a fault before it.
        spoiled: the server applied a step in ignorance.
        restoring: a restore is under way, and the server would do this also if that fails.
        unsettled: what a fault left on the server, or becomes of what was acknowledged, is not known yet.
        stranded: gradients are on the server that no step is to apply.
        discards: the server can discard gradients.
    """
    if ignorant:
        return "ignorant"
    if restoring:
        return "wait"
    if kind in ("restore", "other"):
        return "send"
    if spoiled:
        return "tainted"
    if unsettled:
        return "wait"
    if stranded:
        return "discard" if discards else "tainted"
    return "send"


def kind_of(operation: Operation) -> Kind:
    """Return what an operation does to the weights."""
    if operation.gradient:
        return "gradient"
    if operation.step:
        return "step"
    return "restore" if operation.restores else "other"


class Order:
    """Where the operations of one model stand. Plain state for the one actor that owns it.

    Operations are named by their place, the count of calls. Every call is told to `call`, every operation that is sent
    or kept back was admitted in call order, every one that was sent ends with `ended`, once.

    Args:
        stops: whether failures stop anything; False sends everything, as the official SDK does.
        discards: whether the server refuses what was called in ignorance, and discards gradients.

    Attributes:
        discards: as given; it may be found out later, before the first operation.
        calls: how many there were; the place of the newest.
    """

    def __init__(self, *, stops: bool = True, discards: bool = False) -> None:
        self.discards = discards
        self._stops = stops
        self.calls = 0
        self._admitted = 0
        self._in_flight: dict[int, Kind] = {}
        self._told = Told()
        self._gradients: set[int] = set()  # on the server, for the step that was not called yet
        self._steps: dict[int, set[int]] = {}  # sent and not ended, with their gradients
        self._misled: dict[int, Fault] = {}  # of these, the ignorant ones
        self._undecided: set[int] = set()  # gradients that failed, of which more may come
        self._restores: set[int] = set()  # sent and not ended
        self._stranded: set[int] = set()
        self._stranded_by: TinkerError | None = None
        self._spoiled: tuple[int, TinkerError, Left] | None = None
        self._discarding = False
        self._restored = -1

    @property
    def state(self) -> Literal["clean", "failed", "tainted"]:
        """`"tainted"`: only a restore or an acknowledgement helps; `"failed"`: somebody has yet to be told."""
        if self._spoiled is not None or (self._stranded and not self.discards):
            return "tainted"
        return "failed" if any(fault.told_at is None for fault in self._told.faults) else "clean"

    # ------------------------------------------------------------ calls and turns

    def call(self) -> int:
        """Note a call, and return its place."""
        self.calls += 1
        return self.calls

    def ignorant_of(self, place: int) -> Fault | None:
        """Return a fault that the caller of the operation at `place` had not been told of, or None."""
        return self._told.ignorant_of(place)

    def admit(self, operation: Operation, place: int) -> tuple[Verdict, TinkerError | None]:
        """Decide about the next operation, and return the verdict with the error to fail it with, if it fails.

        After `"wait"` and `"discard"` the same operation is to be asked about again: when something has ended, and
        when `discarded` was told.
        """
        kind, fault = kind_of(operation), self.ignorant_of(place)
        found = verdict(
            kind,
            ignorant=fault is not None,
            spoiled=self._spoiled is not None,
            restoring=bool(self._restores) and not (self.discards and self._stops),
            unsettled=self._unsettled(place),
            stranded=bool(self._stranded),
            discards=self.discards,
        )
        if found in ("wait", "discard"):
            self._discarding = self._discarding or found == "discard"
            return found, None
        self._admitted = place
        error: TinkerError | None = None
        if found == "send":
            self._sent(kind, place)
        elif fault is not None:
            error = self._not_sent(operation, fault.error)
        elif self._spoiled is not None:
            error = tainted(operation.name, *self._spoiled[1:])
        else:
            error = tainted(operation.name, self._stranded_by, "held")
        self._forget()
        return found, error

    def keep_back(self, operation: Operation, place: int, error: TinkerError, cause: int) -> TinkerError:
        """Return what to fail an operation with that is not sent because of `error`. In the place of `admit`.

        What others build on and is not sent has failed.
        """
        self._admitted = place
        fault = self.ignorant_of(place)
        if fault is None:
            self.failed(operation, place, error, cause)
            self._undecided.discard(place)
        return self._not_sent(operation, error if fault is None else fault.error)

    def _sent(self, kind: Kind, place: int) -> None:
        self._in_flight[place] = kind
        if kind == "gradient":
            self._gradients.add(place)
        elif kind == "restore":
            self._restores.add(place)
        elif kind == "step":
            self._steps[place], self._gradients = self._gradients, set()

    def _not_sent(self, operation: Operation, error: TinkerError) -> TinkerError:
        if operation.step and self._stops:
            gradients, self._gradients = self._gradients, set()
            self._strand(gradients, error, self._admitted)
        return preceded(operation, error)

    def _strand(self, places: set[int], error: TinkerError | None, by: int) -> None:
        """Note that gradients stay on the server because of an operation."""
        if not self.discards and self._told.told_at(by) is not None:
            self._gradients |= places  # acknowledged: what can't be discarded counts
        elif places:
            self._stranded |= places
            self._stranded_by = error

    def _unsettled(self, place: int) -> bool:
        misled = any(step > self._restored for step in self._misled)
        covered = self._told.acknowledged_before(place)
        acknowledged = any(at <= covered and kind != "other" for at, kind in self._in_flight.items())
        return self._discarding or bool(self._undecided) or misled or acknowledged

    # ------------------------------------------------------------ what is known

    def known(self, place: int, first: int) -> tuple[range, ...]:
        """Return the numbers of the failures that the caller of the operation at `place` knew of.

        Args:
            place: of the operation.
            first: the first number that it was sent with. Numbers are taken in the order of calls.
        """
        if not self._stops:
            return (EVERY,)
        return self._told.known(place, first)

    def accepted(self, place: int) -> None:
        """Note that the server accepted the operation at `place`, and so has heard what its caller knew."""
        self._told.announced(place)
        self._forget()

    def told(self, cause: int) -> None:
        """Note that the user was told of a failure: what he calls from now on, he calls knowing it."""
        self._told.tell(cause, self.calls)
        self._forget()

    def acknowledge(self) -> None:
        """Note that the user goes on with the weights as they are, whatever becomes of what he called so far."""
        for fault in self._told.faults:
            self._told.tell(fault.cause, self.calls)
        if self._stops:
            self._told.acknowledge(self.calls)
        self._spoiled = None
        if not self.discards:
            self._gradients |= self._stranded
            self._stranded = set()
        self._forget()

    def last_ignorant(self, place: int) -> int:
        """Return the place of the last call that is ignorant, if the operation at `place` fails now."""
        told_at = self._told.told_at(place)
        return self.calls if told_at is None else told_at

    def _forget(self) -> None:
        if self._told:
            self._told.forget(min((self._admitted + 1, *self._in_flight)), announces=self.discards)

    # ------------------------------------------------------------ failures and ends

    def refused_behind(self, operation: Operation, place: int, error: PrecedingOperationFailed) -> Fault | None:
        """Take a server's word that it refused an operation because of one before it; `error` is what it said.

        The error is made to lead to its cause, so that one failure is told once. Who is told of the refusal is told of
        the cause where he was not.

        Returns:
            The fault of which its caller was ignorant; None where the server refused what was called knowingly, or
            names a failure that nobody here has heard of: then the refusal is another fault.
        """
        error.advice = advice_behind(operation) or error.advice
        fault = self._told.ignorant_of(place, error.preceding_seq_id)
        if fault is not None:
            error.preceding, error.on_told = fault.error, fault.error.on_told
        else:
            error.preceding = self._told.named(error.preceding_seq_id)
        return fault

    def failed(
        self, operation: Operation, place: int, error: TinkerError, cause: int, numbers: range = range(0)
    ) -> None:
        """Note that an operation failed for good; of a gradient more may come until its `gradient_ended`."""
        self._told.remember(numbers, error)
        kind = kind_of(operation)
        if not self._stops or kind == "other" or place < self._restored:
            return
        fault = Fault(place, cause, error, numbers)
        self._told.failed(fault)
        if kind == "gradient":
            self._undecided.add(place)
        for step in self._steps:
            if step > place:
                self._misled.setdefault(step, fault)

    def gradient_ended(self, place: int, error: TinkerError, *, stayed: bool) -> None:
        """Note that nothing more comes of a gradient that failed with `error`. `stayed`: some may be on the server."""
        self._undecided.discard(place)
        if not stayed:
            for places in (self._gradients, self._stranded, *self._steps.values()):
                places.discard(place)
        elif place in self._gradients and self._stops:
            self._gradients.discard(place)
            self._strand({place}, error, place)

    def step_ended(self, place: int, ended: Ended, request_id: str | None = None) -> TinkerError | None:
        """Note how a step ended that was sent, when what it builds on has ended.

        Returns:
            What to fail it with if it was applied in ignorance of a fault, else None.
        """
        gradients = self._steps.pop(place, set())
        fault = self._misled.pop(place, None)
        effect = STEP_ENDS[fault is not None, ended] if gradients else "nothing"
        if effect == "kept":
            later = next((step for step in sorted(self._steps) if step > place), None)
            (self._gradients if later is None else self._steps[later]).update(gradients)
        elif fault is not None and effect == "stranded":
            self._strand(gradients, fault.error, place)
        elif effect == "spoiled" and fault is not None and place > self._restored and self._told.told_at(place) is None:
            left: Left = "applied" if ended == "applied" else "perhaps applied"
            self._spoiled = self._spoiled or (place, fault.error, left)
        if fault is None or ended != "applied":
            return None
        return applied_behind(fault.error, request_id, empty=not gradients)

    def restored(self, place: int) -> None:
        """Note that the restore at `place` succeeded: what failed before it does not matter any more."""
        self._restored = place
        self._told.restored(place)
        for places in (self._gradients, self._stranded, self._undecided):
            places.difference_update([each for each in places if each < place])
        self._misled = {step: fault for step, fault in self._misled.items() if step < place or fault.place > place}
        if self._spoiled is not None and self._spoiled[0] < place:
            self._spoiled = None

    def discarded(self, error: TinkerError | None) -> None:
        """Note that the server discarded all gradients, or why it is not known whether it did."""
        self._discarding = False
        if error is None:
            self._gradients, self._stranded = set(), set()
        else:
            self._spoiled = self._spoiled or (self._admitted, error, "perhaps held")

    def conclude(self, sent: Sending[Any], request_id: str | None = None) -> TinkerError | None:
        """Note how an operation ended of which nothing more will come; return what to fail it with, or None."""
        operation, error = sent.operation, sent.error
        if operation.discards:
            self.discarded(error)
            return error
        if operation.gradient and error is not None:
            self.gradient_ended(sent.place, error, stayed=sent.stayed)
        if operation.step:
            error = self.step_ended(sent.place, sent.ended, request_id) or error
        if operation.restores and error is None:
            self.restored(sent.place)
        self.ended(sent.place)
        return error

    def ended(self, place: int) -> None:
        """Note that nothing more comes of an operation that was sent."""
        self._in_flight.pop(place, None)
        self._restores.discard(place)
        self._forget()
