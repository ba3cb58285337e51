"""Every kind of actor is ended in every way at every point of its life, and settles what it owes.

A schedule runs a program some steps far, then something ends one actor. From then on no time passes and no answer
comes: what that actor owed must be decided by its end alone. A failing seed is named in the assertion and repeats.
"""

from __future__ import annotations

import gc
import random

import pytest
from pykka.messages import ProxyCall

import tinker_actors as ta
from tinker_actors.actors.messages import Shutdown
from tinker_actors.errors import ClientClosedError, TinkerError
from tinker_actors.runtime.actor import tell
from tinker_actors.runtime.pykka_internals import ActorStop, Envelope
from tinker_actors.runtime.unseen import cost_of
from tinker_actors.testing import Mishaps, Simulation
from tinker_actors.testing.network import CALM

pytestmark = pytest.mark.slow

SEEDS = 25
PROMPT = ta.ModelInput.from_ints([1, 2, 3])
PARAMS = ta.SamplingParams(max_tokens=2)
DATUM = ta.Datum(ta.ModelInput.from_ints([1, 2, 3]), {"target_tokens": [2, 3, 4], "weights": [1.0] * 3})

WAYS = {
    "stop": lambda ref: ref.stop(block=False),
    "proxy": lambda ref: ref.proxy().stop(),
    "defer": lambda ref: ref.proxy().stop.defer(),
    "crash": lambda ref: ref.tell(ProxyCall(("no", "such", "method"), (), {})),
    "shutdown": lambda ref: ref.tell(Shutdown(ClientClosedError("It is over."))),
}


class Program:
    """A service in use: futures of all it promises, by who owes them."""

    def __init__(self, seed: int, mishaps: Mishaps = CALM) -> None:
        self.simulation = simulation = Simulation(seed, mishaps)
        self.runtime = simulation.runtime
        self.service = service = simulation.service()
        self.trainer = trainer = service.create_lora_training_client("local/ledger", rank=4, seed=1)
        self.sampler = sampler = service.create_sampling_client(base_model="local/ledger")
        policy = trainer.policy("main")
        self.training = [trainer._ready, trainer._get_info_future(), trainer._barrier_future()]
        for _ in range(3):
            self.training += [trainer.forward_backward([DATUM], "cross_entropy"), trainer.optim_step()]
        self.training.append(trainer.save_state("x"))
        self.training += [future.accepted for future in self.training[3:]]
        self.training.append(trainer.step([DATUM], "cross_entropy"))
        self.publication = policy.publish()
        self.creation = [sampler._ready, sampler._get_base_model_future()]
        self.samples = [sampler.sample(PROMPT, 1, PARAMS) for _ in range(3)]
        self.rest = [
            self.publication,
            policy.sample(PROMPT, 1, PARAMS),
            trainer.save_weights_and_get_sampling_client().sample(PROMPT, 1, PARAMS),
            service._get_server_capabilities_future(),
        ]

    @property
    def everything(self):
        return [*self.training, *self.creation, *self.samples, *self.rest]

    def refs(self):
        """Return the actors that can be ended, by kind."""
        inside = self.service._service
        lanes = {f"{name} lane": ref for name, ref in inside.lanes.refs.items()}
        return {
            "training": self.trainer.actor_ref,
            "sampling": self.sampler.actor_ref,
            "session": inside.session,
            "registry": inside.registry,
            "keeper": inside.lanes.keeper,
            "supervisor": self.service.actor_ref,
            **lanes,
        }

    def steps(self, most):
        for _ in range(most):
            if not self.runtime.step():
                return

    def settle(self):
        """Deliver what is told, until nobody has anything to say; no time passes."""
        while self.runtime._ready or self.runtime._callbacks:
            self.runtime.step()

    def close(self):
        self.simulation.close(self.service)
        self.settle()


def undecided(futures):
    return [future._tracker.what for future in futures if not future.done()]


def ended(kind, way, seed):
    """Run a program some steps far and end an actor of it; return the program."""
    program = Program(seed)
    program.steps(int(300 ** random.Random(f"{kind} {way} {seed}").random()))
    WAYS[way](program.refs()[kind])
    program.settle()
    return program


def owed(program, kind):
    """Return the futures that the end of an actor of this kind must decide, whatever the server does."""
    if kind == "training":
        return program.training
    if kind == "sampling":
        ready = program.sampler._ready
        made = ready.done() and ready.exception(0) is None  # then samples go their way without the actor
        return [ready] if made else [ready, *program.samples]
    if kind == "session":
        return program.everything[:-1]  # what the server can do is asked outside of it
    return program.everything


def calls(program):
    """Call again through the handles; return the futures of what was not refused at once."""
    futures, refusals = [], []
    for call in (
        program.trainer.optim_step,
        program.trainer._get_info_future,
        program.trainer._barrier_future,
        program.trainer.policy("main").publish if not program.service.closed else program.trainer.optim_step,
        lambda: program.sampler.sample(PROMPT, 1, PARAMS),
        program.sampler._get_base_model_future,
        lambda: program.service.create_sampling_client(base_model="local/ledger")._ready,
        lambda: program.service.create_lora_training_client("local/ledger", rank=4)._ready,
        program.service._get_server_capabilities_future,
    ):
        try:
            futures.append(call())
        except TinkerError as error:
            refusals.append(error)
    assert all(isinstance(error, ClientClosedError | ta.ActorCrashedError) for error in refusals), refusals
    return futures


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["training", "sampling", "session", "keeper", "supervisor"])
def test_what_an_actor_owes_is_decided_by_its_end(kind, way):
    if (kind, way) in (("supervisor", "shutdown"), ("keeper", "shutdown")):
        pytest.skip("nobody tells it that")
    fates = set()
    for seed in range(SEEDS):
        program = ended(kind, way, seed)
        decided = owed(program, kind)
        assert not undecided(decided), f"seed {seed}"
        fates |= {type(future.exception(0)) for future in decided}
        if way != "crash":
            assert ta.ActorCrashedError not in fates, f"seed {seed}: it was no crash"
        late = calls(program)
        program.close()
        assert not undecided([*program.everything, *late]), f"seed {seed}"
        assert not program.service._service.lanes.under_way(program.service._service.link), f"seed {seed}"
        assert not any(ref.is_alive() for ref in program.refs().values()), f"seed {seed}"
    assert len(fates) > 1, "some had succeeded before and some had not: the points differ"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["registry", "control lane", "train lane", "sample lane"])
def test_what_has_a_successor_loses_nothing_but_what_was_being_published(kind, way):
    if way == "shutdown":
        pytest.skip("it is told that by who ends it for good")
    for seed in range(SEEDS):
        program = ended(kind, way, seed)
        program.simulation.wait_for(*program.everything)
        program.settle()
        failed = [future for future in program.everything if future.exception(0) is not None]
        assert set(failed) <= {program.publication, program.rest[1]}, f"seed {seed}: {failed}"
        program.close()
        assert not any(ref.is_alive() for ref in program.refs().values()), f"seed {seed}"


@pytest.mark.parametrize("kind", ["training", "sampling", "session", "registry", "supervisor"])
def test_an_actor_that_was_stopped_before_it_began_settles_all_the_same(kind, monkeypatch):
    for seed in range(SEEDS):
        begun = []
        with monkeypatch.context() as patch:
            patch.setattr(
                "tinker_actors.testing.step.StepRuntime.run", lambda _, actor, begun=begun: begun.append(actor)
            )
            program = Program(seed)
        ref = program.refs()[kind]
        ref.actor_inbox.actor.process(Envelope(ActorStop()))  # it overtakes all others, and the beginning
        for actor in begun:
            actor.begin()
        program.settle()
        if kind != "registry":
            assert not undecided(owed(program, kind)), f"seed {seed}"
        program.close()
        assert not undecided(program.everything), f"seed {seed}"


# ---------------------------------------------------------------- closing


@pytest.mark.parametrize("held", ["kept", "dropped"])
def test_closing_finishes_what_was_called_whoever_holds_a_handle(held):
    programs = [Program(seed, Mishaps()) for seed in range(SEEDS)]
    promises = [program.everything for program in programs]
    if held == "dropped":
        for program in programs:
            del program.trainer, program.sampler
        gc.collect()
    for seed, (program, promised) in enumerate(zip(programs, promises, strict=True)):
        program.close()
        failed = [future for future in promised if not future.done() or future.exception(0) is not None]
        assert not failed, f"seed {seed}"
        assert not cost_of(program.service._service.ended)


def test_closing_again_shortens_the_wait_and_an_end_of_the_supervisor_ends_it():
    for seed in range(SEEDS):
        program = Program(seed)
        program.steps(seed * 5)
        program.simulation.network.up = False
        over = program.service._shut("success", None, 1e9)
        program.settle()
        assert not over.done()
        began = program.runtime.clock.now()
        if seed % 2:
            program.service._shut("success", None, 3.0)
        else:
            program.runtime.timers.call_at(began + 3.0, lambda ref=program.service.actor_ref: ref.stop(block=False))
        program.simulation.wait_for(over)
        assert 3.0 <= program.runtime.clock.now() - began <= 9.0, f"seed {seed}"
        program.settle()
        assert not undecided(program.everything), f"seed {seed}"


def test_two_that_end_together_leave_nothing_undecided():
    for seed in range(3 * SEEDS):
        draw = random.Random(f"pair {seed}")
        program = Program(seed)
        program.steps(draw.randrange(200))
        refs = program.refs()
        for kind in draw.sample(sorted(refs), 2):
            if refs[kind].is_alive():
                WAYS[draw.choice(["stop", "crash"])](refs[kind])
            for _ in range(draw.randrange(4)):
                if program.runtime._ready:
                    program.runtime.step()
        program.settle()
        late = calls(program)
        program.close()
        program.settle()
        assert not undecided([*program.everything, *late]), f"seed {seed}"


def test_a_watch_that_comes_after_the_end_ends_what_it_names():
    program = Program(0)
    program.close()
    late = program.service
    late._service.ended, error = None, late._service.ended  # as seen by a caller who looked a moment before
    sampler = late.create_sampling_client(base_model="local/ledger")
    late._service.ended = error
    program.settle()
    assert sampler._ready.done()
    assert not sampler.actor_ref.is_alive()
    assert not tell(late.actor_ref, "anything")
