"""What failures do to an official client's operations: schedules of calls, work and fetched results, against the table.

Official clients say nothing of what their callers know. They submit a call's requests with the first one last and the
next call behind them, whatever was answered, and fetch results when they like. The plan below says row by row what
each operation has to come to; the ledger's weights say what was applied.
"""

from __future__ import annotations

import json

from hypothesis import example, given, settings
from hypothesis import strategies as st

from .conftest import Bodies, Driver

GOOD, DOOR, ENGINE = "good", "door", "engine"
CALLS = {
    "grad": [GOOD],
    "grad refused": [DOOR],
    "grad fails": [ENGINE],
    "cut grad": [GOOD, GOOD, GOOD],
    "cut grad fails first": [ENGINE, GOOD, GOOD],
    "cut grad fails inside": [GOOD, ENGINE, GOOD],
    "cut grad refused first": [DOOR, GOOD, GOOD],
    "cut grad refused last": [GOOD, GOOD, DOOR],
    "step": [GOOD],
    "step refused": [DOOR],
    "load": [GOOD],
    "load fails": [ENGINE],
    "save": [GOOD],
    "forward": [GOOD],
    "forward fails": [ENGINE],
}
NEWS = ("work", "work", "fetch", "fetch_newest", "send")
OUTSIDE = 10**6


class Part:
    """One request of a call."""

    def __init__(self, call, kind, number, how):
        self.call, self.kind, self.number, self.how = call, kind, number, how
        self.request_id = None  # until it was accepted
        self.sent = self.fetched = False
        self.knew = frozenset()  # numbers of the failures that its client had been told when its call was sent
        self.cause = None  # the number of the failure that its own failure tells of


class Failure:
    """A failure that somebody may not know of."""

    def __init__(self, number, *, gradient):
        self.number, self.gradient = number, gradient
        self.closed = False  # whether its step was refused


class World:
    """One official client, one model."""

    def __init__(self):
        self.driver = Driver()
        self.model = self.driver.model()
        self.path = self.driver.saved(self.model, 1, "before")
        self.parts, self.to_send = [], []
        self.calls, self.number, self.decided = 0, 2, 0
        self.told = set()
        self.live, self.gathered, self.stranded = [], [], False
        self.applied = []  # what changed the weights, and what they were

    # ------------------------------------------------------------ events

    def call(self, name):
        while self.to_send:
            self.send()
        self.calls += 1
        hows = CALLS[name]
        kind = name.removeprefix("cut ").split()[0]
        parts = [Part(self.calls, kind, self.number + index, how) for index, how in enumerate(hows)]
        self.number += len(parts)
        self.parts += parts
        self.to_send = [*parts[1:], parts[0]]
        self.send()

    def send(self):
        if not self.to_send:
            return
        part = self.to_send.pop(0)
        missing = next((each.number for each in self.parts if not each.sent), self.number)
        knew = frozenset(number for number in self.told if number < min(missing, part.number))
        for each in self.parts:
            if each.call == part.call:
                each.knew = each.knew & knew if any(one.sent for one in self.parts if one.call == part.call) else knew
        part.sent = True
        status, said = self.driver.call(*self.request(part))
        assert (status in (400, 422)) == (part.how == DOOR), said
        if part.how == DOOR:
            self.told.add(part.number)
        else:
            part.request_id = said["request_id"]

    def request(self, part):
        where = {"model_id": self.model, "seq_id": part.number}
        data = Bodies.datum([OUTSIDE if part.how == ENGINE else part.number])
        passed = {"data": [data], "loss_fn": "no_such_loss" if part.how == DOOR else "cross_entropy"}
        path = "tinker://nowhere/weights/x" if part.how == ENGINE else self.path
        params = 5 if part.how == DOOR else {"learning_rate": 0.1}
        return {
            "grad": ("forward_backward", {**where, "forward_backward_input": passed}),
            "forward": ("forward", {**where, "forward_input": passed}),
            "step": ("optim_step", {**where, "adam_params": params}),
            "load": ("load_weights", {**where, "path": path, "optimizer": True}),
            "save": ("save_weights", {**where, "path": f"at{part.number}"}),
        }[part.kind]

    def work(self):
        job = self.driver.core.next_job("train")
        if job is not None:
            self.driver.core.finish(job, job.run(), self.driver.now)
        while self.decided < len(self.parts) and self.decide(self.parts[self.decided]):
            self.decided += 1

    def fetch_newest(self):
        self.fetch(newest=True)

    def fetch(self, *, newest=False):
        decided = self.parts[: self.decided]
        for part in reversed(decided) if newest else decided:
            if part.request_id is not None and not part.fetched:
                part.fetched = True
                self.driver.result(part.request_id)
                self.told |= {part.cause} - {None}
                return

    # ------------------------------------------------------------ the table

    def decide(self, part):
        """Hold what became of a request, if its turn is over, to what the table says; return whether it is."""
        if part.request_id is None:
            if not part.sent or self.driver.core.state.models[self.model].sequencer.next_number <= part.number:
                return False
            self.fails(part)
            return True
        future = self.driver.core.state.futures.find(part.request_id)
        if future.state == "pending":
            return False
        said = json.loads(future.body)
        unknown = [failure for failure in self.live if failure.number not in part.knew]
        if unknown:
            # Called before it was told: fails, and a step's gradients are discarded.
            assert said.get("preceding_seq_id") in [failure.number for failure in unknown]
            part.cause = said["preceding_seq_id"]
            if part.kind == "step":
                self.refuse()
            elif part.kind == "grad":
                self.strand(part)
        elif part.kind == "step":
            self.step(said)
        else:
            # Called afterwards: goes on as called.
            assert ("error" in said) == (part.how == ENGINE), said
            assert "preceding_seq_id" not in said
            if part.kind == "grad" and self.stranded:
                self.gathered, self.stranded = [], False
            if part.how == ENGINE:
                self.fails(part)
            elif part.kind == "grad":
                self.gathered.append(part)
            elif part.kind == "load":
                self.live, self.gathered, self.stranded = [], [], False
                self.applied.append(None)
        return True

    def step(self, said):
        at_risk = [failure for failure in self.live if self.stranded or (failure.gradient and not failure.closed)]
        if at_risk and (self.stranded or not self.gathered):
            # No gradient of its own: nobody can tell it from a step that was called together with what failed.
            assert said["preceding_seq_id"] in [failure.number for failure in at_risk]
            self.refuse()
            return
        assert "error" not in said, said
        self.applied.append((tuple(part.number for part in self.gathered), said["metrics"]["weights:unique"]))
        for part in self.gathered:
            whole = [each for each in self.parts if each.call == part.call]
            assert set(whole) <= set(self.gathered), "a part of a gradient was applied"
        self.live, self.gathered = [], []

    def refuse(self):
        self.gathered, self.stranded = [], False
        for failure in self.live:
            failure.closed = True

    def fails(self, part):
        part.cause = part.number
        if part.kind == "forward":
            return
        self.live = [failure for failure in self.live if failure.number not in part.knew]
        self.live.append(Failure(part.number, gradient=part.kind == "grad"))
        self.strand(part)

    def strand(self, part):
        self.stranded = self.stranded or any(each.call == part.call for each in self.gathered)

    # ------------------------------------------------------------ the end

    def settle(self):
        """Let everything come to its end, and have the client told of everything."""
        while self.to_send:
            self.send()
        while self.decided < len(self.parts):
            self.work()
        for _ in self.parts:
            self.fetch()

    def replayed(self):
        """Return the weights that a server comes to on which nothing fails."""
        driver, found = Driver(), []
        model = driver.model()
        path, number = driver.saved(model, 1, "before"), 2
        for done in self.applied:
            if done is None:
                body = {"model_id": model, "seq_id": number, "path": path, "optimizer": True}
                driver.submit("load_weights", body)
                number += 1
                continue
            for token in done[0]:
                driver.submit("forward_backward", Bodies.forward_backward(model, number, Bodies.datum([token])))
                number += 1
            step = driver.submit("optim_step", Bodies.optim_step(model, number))
            number += 1
            driver.work()
            found.append(driver.result(step)["metrics"]["weights:unique"])
        return found


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from([*CALLS, *NEWS, *NEWS]), max_size=40))
@example(["grad", "grad fails", "work", "work", "fetch", "fetch", "step"])
@example(["grad fails", "cut grad", "work", "fetch", "step"])  # told while the parts of a call are on their way
@example(["cut grad refused last", "step refused", "step"])
@example(["cut grad refused last", "grad refused", "grad", "step"])
def test_an_official_clients_operations_follow_the_table(events):
    world = World()
    for event in events:
        if event in CALLS:
            world.call(event)
        else:
            getattr(world, event)()
    world.settle()
    world.call("grad")
    world.call("step")
    world.settle()
    assert world.applied, "who was told of everything goes on"
    assert world.applied[-1][0][-1] == world.parts[-2].number
    assert world.replayed() == [done[1] for done in world.applied if done is not None]
