"""The order of a model's operations, against a server that does as it is told and a user who remembers what he knew."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinker_actors.errors import RequestFailedError
from tinker_actors.protocol.order import Order
from tinker_actors.protocol.requests.operations import Operation

OPERATIONS = {
    "grad": Operation("forward_backward", (), gradient=True),
    "step": Operation("optim_step", (), step=True),
    "save": Operation("save_state", ()),
    "load": Operation("load_state", (), restores=True),
}
ERROR = RequestFailedError("the cause")

CALLS = ("grad", "grad-refused", "grad-in-part", "step", "step-fails", "save", "load", "load-fails")
NEWS = ("told", "turn", "end", "acknowledged")


class World:
    """One user, one server. An operation that is sent ends when that is asked for, in order."""

    def __init__(self, *, discards: bool) -> None:
        self.order = Order(discards=discards)
        self.discards = discards
        self.queue: list[tuple[int, str]] = []
        self.in_flight: list[tuple[int, str]] = []
        self.knew: dict[int, set[int]] = {}  # by place: the failures of which its caller had been told
        self.failed: dict[int, int] = {}  # by cause: the place
        self.told: set[int] = set()
        self.acknowledged = 0  # the calls of which the user went on whatever becomes of them
        self.covered: dict[int, int] = {}  # by place: how many these were when it was called
        self.gathered: list[int] = []
        self.steps: list[tuple[int, list[int]]] = []
        self._causes = itertools.count(1)

    def call(self, name: str) -> None:
        place = self.order.call()
        self.knew[place] = set(self.told)
        self.covered[place] = self.acknowledged
        self.queue.append((place, name))

    def tell(self) -> None:
        for cause in set(self.failed) - self.told:
            self.order.told(cause)
            self.told.add(cause)
            return

    def ignorant(self, place: int) -> bool:
        unknown = [at for cause, at in self.failed.items() if cause not in self.knew[place]]
        return any(self.covered[place] < at < place for at in unknown)

    def acknowledge(self) -> None:
        self.order.acknowledge()
        self.acknowledged = self.order.calls
        self.told |= set(self.failed)

    def turn(self) -> None:
        while self.queue:
            place, name = self.queue[0]
            operation = OPERATIONS[name.partition("-")[0]]
            found, error = self.order.admit(operation, place)
            if found == "wait":
                assert self.in_flight, "nobody waits for nothing"
                assert not self.ignorant(place)
                return
            if found == "discard":
                while self.in_flight:
                    self.end()  # it is in order, like everything
                self.gathered.clear()
                self.order.discarded(None)
                continue
            self.queue.pop(0)
            assert (found == "ignorant") == self.ignorant(place)
            if found == "tainted":
                assert operation.gradient or operation.step
                assert self.gathered or any(gradients and self.ignorant(at) for at, gradients in self.steps), (
                    "nothing stayed"
                )
            if found == "send":
                assert error is None
                assert self.discards or not any(name.startswith("load") for _, name in self.in_flight)
                self.in_flight.append((place, name))

    def end(self) -> None:
        if not self.in_flight:
            return
        place, name = self.in_flight.pop(0)
        kind, _, how = name.partition("-")
        refused = self.discards and self.ignorant(place)  # the server knows what was known
        if how and not refused:
            self._fail(place, kind)
        if kind == "grad":
            stays = how in ("", "in-part") and not refused
            self.gathered += [place] * stays
            if how or refused:
                self.order.gradient_ended(place, ERROR, stayed=stays)
        elif kind == "step":
            if refused:
                self.gathered.clear()
            elif not how:
                self.steps.append((place, self.gathered))
                self.gathered = []
            self.order.step_ended(place, "refused" if refused else "failed" if how else "applied")
        elif kind == "load" and not how and not refused:
            self.gathered.clear()
            self.order.restored(place)
            self.failed = {cause: at for cause, at in self.failed.items() if at > place}
        self.order.ended(place)

    def _fail(self, place: int, kind: str) -> None:
        cause = next(self._causes)
        if kind != "save":
            self.failed[cause] = place
        self.order.failed(OPERATIONS[kind], place, ERROR, cause)


@pytest.mark.slow
@settings(max_examples=600, deadline=None)
@given(st.lists(st.sampled_from([*CALLS, *NEWS, *NEWS]), max_size=60), st.booleans())
def test_nothing_is_sent_in_ignorance_and_nobody_who_knows_is_stopped(events, discards):
    world = World(discards=discards)
    news = {"told": world.tell, "turn": world.turn, "end": world.end, "acknowledged": world.acknowledge}
    for event in events:
        if event in news:
            news[event]()
        else:
            world.call(event)
    while world.in_flight or world.queue:
        world.turn()
        world.end()
    broken = {at for cause, at in world.failed.items()}
    for place, gradients in world.steps:
        if discards:
            assert not world.ignorant(place), "a step was applied in ignorance"
            assert not broken & set(gradients), "a part of a gradient was applied"
    # In the end somebody who was told of everything, and acknowledged it, goes on as called.
    while set(world.failed) - world.told:
        world.tell()
    world.order.acknowledge()
    world.call("grad")
    world.call("step")
    while world.in_flight or world.queue:
        world.turn()
        world.end()
    assert world.steps[-1][0] == max(world.knew)
    assert world.order._told.faults == []
