"""A session that is lost and held: nothing fails, all say why they wait, and it ends well or as it is told to.

Everything between client and server answers 404 or 410 for a while, as a proxy does that has forgotten its server. The
policy is the test's own; a client has no other than to give up at once, which the other tests are about.
"""

from __future__ import annotations

import random

import pytest
from pykka.messages import ProxyCall

import tinker_actors as ta
from tinker_actors.events import SessionLost
from tinker_actors.protocol.session_life import NO_RECOVERY, LossPolicy
from tinker_actors.testing import Mishaps, Simulation
from tinker_actors.testing.network import CALM

PROMPT = ta.ModelInput.from_ints([1, 2, 3])
PARAMS = ta.SamplingParams(max_tokens=2)
FOREVER = LossPolicy(patience=1e6)
STATUS = [404, 410]


def datum(first):
    ids = [first, first + 1, first + 2]
    targets = [token + 1 for token in ids]
    return ta.Datum(ta.ModelInput.from_ints(ids), {"target_tokens": targets, "weights": [1.0] * 3})


class Run:
    """Three steps and samples of three kinds, in a session that may be lost."""

    def __init__(self, seed=0, mishaps=CALM, on_loss=FOREVER, **config):
        self.simulation = simulation = Simulation(seed, mishaps, **{"creation_timeout": 1000.0} | config)
        self.runtime, self.network = simulation.runtime, simulation.network
        self.service = service = simulation.service(on_loss)
        self.link = service._service.link
        self.events = []
        service.events.subscribe(self.events.append, SessionLost)
        self.trainer = trainer = service.create_lora_training_client("local/ledger", rank=4, seed=1)
        self.steps = []
        for i in range(3):
            self.steps.append(trainer.forward_backward([datum(10 * i + j) for j in range(3)], "cross_entropy"))
            self.steps.append(trainer.optim_step(ta.AdamParams(learning_rate=0.1 * (i + 1))))
        self.policy = trainer.policy("main")
        self.publication = self.policy.publish()
        self.sampler = service.create_sampling_client(base_model="local/ledger")
        self.saved = trainer.save_weights_and_get_sampling_client()
        self.samples = [
            source.sample(PROMPT, 1, ta.SamplingParams(max_tokens=4, seed=i))
            for source in (self.sampler, self.policy, self.saved)
            for i in range(4)
        ]
        self.futures = [trainer._ready, *self.steps, self.publication, *self.samples]

    @property
    def now(self):
        return self.runtime.clock.now()

    def until(self, condition):
        self.runtime.run_until(condition)

    def wait(self, seconds):
        """Let time pass."""
        end = []
        self.runtime.timers.call_at(self.now + seconds, lambda: end.append(True))
        self.until(lambda: bool(end))

    def lose(self, status=404):
        self.network.gone = status
        self.until(lambda: self.link.state != "open")
        self.settle()

    def find(self):
        self.network.gone = None
        self.until(lambda: self.link.state == "open")

    def settle(self):
        """Deliver what is told, until nobody has anything to say; no time passes."""
        while self.runtime._ready or self.runtime._callbacks:
            self.runtime.step()

    def results(self):
        self.simulation.wait_for(*self.futures)
        results = [self.publication.result(0), *(future.result(0).metrics for future in self.steps)]
        return results + [future.result(0).sequences[0].tokens for future in self.samples]

    def close(self):
        self.simulation.close(self.service)
        self.settle()
        assert not self.service._service.lanes.under_way(self.link)

    def undecided(self):
        return [future for future in self.futures if not future.done()]


def nothing_is_counted(run):
    """No lane counts anything as under way, in whichever hand."""
    for ref in run.service._service.lanes.refs.values():
        lane = ref.actor_inbox.actor
        assert lane._submitting.counts() == (0, 0, 0)
        assert lane._polling.counts() == (0, 0)
        limit = lane._submitting.limit
        assert limit is None or (limit.submitting, limit.held) == (0, 0)
        assert lane._polling._balance == lane._desk.config.response_bytes


@pytest.fixture(scope="module")
def undisturbed():
    run = Run()
    results = run.results()
    run.close()
    return results


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 60, 20))
@pytest.mark.parametrize("heard", [True, False])
def test_what_is_well_again_goes_on_and_all_is_applied_once_and_in_order(first, heard, undisturbed):
    held = 0
    for seed in range(first, first + 20):
        draw = random.Random(f"lost {seed}")
        run = Run(seed, Mishaps(), use_retrieve_futures=heard)
        run.until(lambda run=run: run.link.state == "open")
        for _ in range(2):
            for _ in range(int(400 ** draw.random())):
                run.runtime.step()
            if not run.undecided():
                break
            run.network.gone = draw.choice(STATUS)
            run.until(lambda run=run: run.link.state == "lost")
            run.wait(draw.random() * 100.0)
            assert all(future.exception(0) is None for future in run.futures if future.done()), f"seed {seed}"
            held += len(run.undecided())
            if draw.random() < 0.5:  # who takes over finds what is held
                refs = dict(run.service._service.lanes.refs)
                if run.publication.done():  # or its end would be that
                    refs["registry"] = run.service._service.registry
                refs[draw.choice(sorted(refs))].tell(ProxyCall(("no", "such", "method"), (), {}))
            run.find()
        assert run.results() == undisturbed, f"seed {seed}"
        run.wait(1.0)
        nothing_is_counted(run)
        run.close()
    assert held > 100


@pytest.mark.parametrize("status", STATUS)
def test_while_a_session_is_lost_nothing_fails_and_all_say_that(status):
    run = Run(1, liveness_limit=20.0)
    run.simulation.wait_for(run.steps[1], run.samples[0])
    run.lose(status)
    assert len(run.undecided()) > 5
    sampler = run.service.create_sampling_client(base_model="local/ledger")
    trainer = run.service.create_lora_training_client("local/ledger", rank=4)
    late = [
        run.trainer.forward_backward([datum(1)], "cross_entropy"),
        run.sampler.sample(PROMPT, 1, PARAMS),
        sampler._ready,
        trainer._ready,
    ]
    run.wait(300.0)  # many times what the server may be silent
    assert not [future for future in late if future.done()]
    reasons = {future.progress().what: future.progress().reason for future in [*run.undecided(), *late]}
    assert set(reasons.values()) <= {"recovering", "waiting for its sampler"}, reasons
    held = [future.progress() for future in run.steps if not future.done()]
    assert {each.reason for each in held} == {"recovering"}
    assert "no longer knows session" in held[0].detail
    assert late[1].progress().reason == "recovering"
    assert repr(run.sampler).startswith("<SamplingClient recovering")
    run.find()
    run.simulation.wait_for(*run.futures, *late)
    assert [event.session_id for event in run.events] == [run.service._service.session_id]
    assert not any(future.exception(0) for future in [*run.futures, *late])
    assert run.steps[-1].result(0).metrics["steps:max"] == 3
    run.close()


def test_what_is_ready_and_idle_recovers_too():
    run = Run(5)
    run.results()
    run.lose()
    assert all("recovering" in repr(sampler) for sampler in (run.sampler, run.saved))
    called = [run.trainer.optim_step(), run.trainer.forward([datum(1)], "cross_entropy")]
    called += [source.sample(PROMPT, 1, PARAMS) for source in (run.sampler, run.saved, run.policy)]
    run.settle()
    assert [future.progress().reason for future in called] == ["recovering"] * 5
    assert "2 queued, 0 sent" in run.trainer.actor_ref.actor_inbox.actor.describe(), "the lane has nothing of it"
    run.find()
    run.settle()
    assert all("ready" in repr(sampler) for sampler in (run.sampler, run.saved))
    run.simulation.wait_for(*called)
    assert not any(future.exception(0) for future in called)
    run.close()


def test_what_is_held_is_not_sent():
    run = Run(2)
    run.simulation.wait_for(run.steps[1])
    run.lose()
    run.wait(5.0)
    asked = []
    run.network.core.handle, handle = (
        lambda request, now: asked.append(request.path) or handle(request, now),
        (run.network.core.handle),
    )
    run.network.gone = None
    run.until(lambda: run.link.state == "open")
    assert {path.rsplit("/", 1)[1] for path in asked} == {"session_heartbeat"}
    run.simulation.wait_for(*run.futures)
    run.close()


def test_a_held_sample_can_be_cancelled_and_its_deadline_runs():
    run = Run(3)
    view = run.sampler.with_options(timeout=50.0)
    run.simulation.wait_for(run.sampler._ready)
    timed, cancelled = view.sample(PROMPT, 1, PARAMS), run.sampler.sample(PROMPT, 1, PARAMS)
    run.network.gone = 404
    began = run.now
    run.until(lambda: run.link.state == "lost")
    later = view.sample(PROMPT, 1, PARAMS)
    run.wait(1.0)
    assert cancelled.cancel()
    run.simulation.wait_for(timed, later)
    assert cancelled.cancelled()
    assert 50.0 <= run.now - began <= 70.0
    for future in (timed, later):
        error = future.exception(0)
        assert isinstance(error, ta.DeadlineExceededError)
        assert "recovering for" in error.message
    run.find()
    run.simulation.wait_for(*run.futures)
    run.close()


@pytest.mark.parametrize("seed", range(8))
def test_what_is_given_up_later_fails_with_the_loss(seed, caplog):
    run = Run(seed, on_loss=LossPolicy(patience=120.0))
    run.simulation.wait_for(run.steps[seed % 3])
    run.lose()
    began, left = run.now, run.undecided()
    run.simulation.wait_for(*left)
    assert 119.0 <= run.now - began <= 121.0
    run.settle()
    late = [
        run.trainer.optim_step(),
        run.sampler.sample(PROMPT, 1, PARAMS),
        run.saved.sample(PROMPT, 1, PARAMS),
        run.policy.publish(),
    ]
    trainer = run.service.create_lora_training_client("local/ledger", rank=4)
    late += [trainer._ready]
    run.settle()
    for future in [*left, *late]:
        error = future.exception(0)
        assert isinstance(error, ta.SessionLostError), error
        assert "no longer knows session" in error.message
    assert len(run.events) == 1
    assert [record.levelname for record in caplog.records if "is lost" in record.message] == ["ERROR"]
    run.close()


@pytest.mark.parametrize("seed", range(8))
def test_without_recovery_all_fails_at_once(seed):
    run = Run(seed, on_loss=NO_RECOVERY)
    run.simulation.wait_for(run.steps[seed % 3])
    left = run.undecided()
    run.lose()
    assert run.link.state == "ended"
    assert not run.undecided(), "no time passes"
    errors = [error for future in left if (error := future.exception(0)) is not None]
    assert len(errors) > 3
    assert all(isinstance(error, ta.SessionLostError) for error in errors)
    assert len(run.events) == 1
    run.close()


@pytest.mark.parametrize("seed", range(8))
def test_closing_ends_what_is_held(seed):
    run = Run(seed)
    run.simulation.wait_for(run.steps[seed % 3])
    run.lose()
    left, began = run.undecided(), run.now
    run.close()
    assert 30.0 <= run.now - began <= 40.0, "it waited for them as for everything"
    assert left
    assert all(isinstance(future.exception(0), ta.ClientClosedError) for future in left)
    assert not run.undecided()


def test_a_session_that_is_well_again_says_so(caplog):
    caplog.set_level("INFO")
    run = Run(4)
    run.simulation.wait_for(run.steps[0])
    run.lose()
    run.wait(25.0)
    run.find()
    run.simulation.wait_for(*run.futures)
    run.close()
    told = [record.message for record in caplog.records if record.message.startswith("Session")]
    assert any("is lost" in line for line in told)
    assert any("is well again, after" in line for line in told)
    assert told[-1].endswith("has ended")
