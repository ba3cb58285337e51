"""Live policies on a simulated server: which version a sample gets, what it waits for, and what stays behind."""

from __future__ import annotations

import gc

import pytest

import tinker_actors as ta
from tinker_actors.actors.messages import Perform, Publish, PublishPolicy
from tinker_actors.actors.model.published import TrainingState
from tinker_actors.actors.registry import PolicyEntry, sampler_keys
from tinker_actors.actors.service import SamplerEntry
from tinker_actors.clients.policy import PolicyState
from tinker_actors.clients.sample_request import SamplerLease
from tinker_actors.errors import (
    ActorCrashedError,
    ClientClosedError,
    DeadlineExceededError,
    InvalidInputError,
    RequestFailedError,
)
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.progress import Tracker
from tinker_actors.testing import Mishaps, Simulation

PROMPT = ta.ModelInput.from_ints([1, 2, 3])
PARAMS = ta.SamplingParams(max_tokens=4, seed=1)
DATUM = ta.Datum(PROMPT, {"target_tokens": [2, 3, 4], "weights": [1.0] * 3})


def no_operation():
    """Return a message that kills a training actor: it raises."""
    return Perform(object(), APIFuture(Tracker("optim_step", 0.0)))


def crash(simulation, trainer):
    trainer.actor_ref.tell(no_operation())
    simulation.runtime.run_until(lambda: not trainer.actor_ref.is_alive())


def step(trainer):
    return trainer.step([DATUM], "cross_entropy")


def settle(simulation, *futures):
    """Wait for futures and return their results."""
    simulation.wait_for(*futures)
    return [future.result(0) for future in futures]


def calm_down(simulation):
    """Let happen what happens within a second."""
    until = simulation.runtime.clock.now() + 1.0
    simulation.runtime.run_until(lambda: simulation.runtime.clock.now() > until)


def published(service):
    return {key: entry for key, entry in service._service.samplers.current.items() if entry.state == "ready"}


def test_samples_before_the_first_version_wait_for_it(simulation, trainer):
    policy = trainer.policy("main")
    assert policy.weights_version is None
    sample = policy.sample(PROMPT, 1, PARAMS)
    scores = policy.compute_logprobs(PROMPT)
    calm_down(simulation)
    assert sample.progress().reason == "waiting for publish()"
    publication = policy.publish()
    simulation.runtime.run_until(lambda: sample.progress().reason == "waiting for its sampler")
    assert settle(simulation, publication) == [0]
    response, logprobs = settle(simulation, sample, scores)
    assert response.weights_version == 0
    assert len(logprobs) == 3
    assert logprobs[0] is None


def test_a_sample_has_the_newest_version_of_the_moment_it_is_asked_for(simulation, trainer):
    policy = trainer.policy("main")
    settle(simulation, policy.publish())
    early = policy.sample(PROMPT, 1, PARAMS)
    _, version = settle(simulation, step(trainer), policy.publish())
    late = policy.sample(PROMPT, 1, PARAMS)
    assert version == 1
    assert [response.weights_version for response in settle(simulation, early, late)] == [0, 1]
    assert early.result(0).sequences[0].tokens != late.result(0).sequences[0].tokens, "the weights differ"
    assert policy.weights_version == 1


def test_publishing_takes_the_weights_after_everything_called_so_far(simulation, trainer):
    policy = trainer.policy("main")
    futures = []
    for _ in range(3):
        futures += [step(trainer), policy.publish()]
    assert settle(simulation, *futures)[1::2] == [1, 2, 3]
    assert policy.weights_version == 3


def test_the_same_name_is_the_same_policy(simulation, trainer):
    policy, other = trainer.policy("main", max_lag=3), trainer.policy("other")
    settle(simulation, policy.publish())
    again = trainer.policy("main")
    assert (again.weights_version, again.max_lag, other.weights_version) == (0, None, None)


def test_nothing_is_published_that_nobody_holds(simulation, service, trainer):
    policy = trainer.policy("main")
    for _ in range(4):
        settle(simulation, step(trainer), policy.publish())
    calm_down(simulation)
    assert len(published(service)) == 2, "the policy and its newest sampler"
    pin = policy.pin()
    under_way = policy.sample(PROMPT, 1, PARAMS)
    settle(simulation, step(trainer), policy.publish())
    calm_down(simulation)
    assert under_way.done()
    assert len(published(service)) == 3, "a pin holds one more"
    del pin
    calm_down(simulation)
    assert len(published(service)) == 2
    del policy, trainer


def test_a_policy_that_nobody_holds_is_gone(simulation, service):
    trainer = service.create_lora_training_client("local/ledger", rank=4, seed=1)
    policy = trainer.policy("main")
    settle(simulation, policy.publish())
    del trainer
    gc.collect()
    assert settle(simulation, policy.sample(PROMPT, 1, PARAMS))[0].weights_version == 0, "it keeps its training client"
    last = policy.publish()
    del policy
    gc.collect()
    assert settle(simulation, last) == [0]
    calm_down(simulation)
    assert not service._service.samplers.current


def test_a_policy_with_its_training_client_stays_without_a_handle(simulation, trainer):
    settle(simulation, trainer.policy("main").publish())
    gc.collect()
    calm_down(simulation)
    assert trainer.policy("main").weights_version == 0


@pytest.mark.parametrize("seed", range(20))
def test_the_publication_called_last_stays_whatever_the_network_does(seed):
    simulation = Simulation(seed, Mishaps(request_lost=0.1, answer_lost=0.1, busy=0.1, slow=0.5, longest=8.0))
    service = simulation.service()
    trainer = service.create_lora_training_client("local/ledger", rank=4, seed=1)
    policy = trainer.policy("main")
    futures = [future for _ in range(5) for future in (step(trainer), policy.publish())]
    samples = []
    while not all(future.done() for future in futures):
        simulation.runtime.step()
        if len(samples) < 20 and policy.weights_version is not None:
            samples.append(policy.sample(PROMPT, 1, PARAMS))
    assert [future.result(0) for future in futures[1::2]] == [1, 2, 3, 4, 5]
    assert policy.weights_version == 5
    versions = [response.weights_version for response in settle(simulation, *samples)]
    assert versions == sorted(versions)
    simulation.close(service)


# ---------------------------------------------------------------- the registry's rule


@pytest.fixture
def registry(simulation, service):
    """What decides, with samplers that become ready when the test says so."""
    return _Registry(simulation, service._service)


class _Registry:
    def __init__(self, simulation, service):
        self.simulation, self.service = simulation, service
        self.policy = PolicyState("main", service, TrainingState())
        self.leases = {}
        self.futures = {}

    def coming(self, order):
        self.leases[order] = SamplerLease(next(sampler_keys), self.service, self.service.registry)
        self.futures[order] = APIFuture(Tracker("publish", 0.0))
        self.service.registry.tell(PublishPolicy(self.policy, self.leases[order], self.futures[order]))

    def tell(self, order, entry):
        self.service.registry.tell(Publish(self.leases[order].key, entry))
        calm_down(self.simulation)

    def ready(self, order):
        self.tell(order, SamplerEntry("ready", sampling_session_id=f"s{order}", weights_version=order, order=order))

    def failed(self, order):
        self.tell(order, SamplerEntry("failed", error=RequestFailedError(f"no room for {order}")))

    def version(self):
        entry = self.service.samplers.current.get(self.policy.key)
        return None if entry is None else entry.error or entry.weights_version


def test_an_older_version_that_is_ready_later_replaces_nothing(registry):
    registry.coming(1)
    registry.coming(2)
    registry.ready(2)
    assert registry.version() == 2
    assert not registry.futures[1].done()
    registry.ready(1)
    assert registry.futures[1].result(0) == 1
    assert registry.version() == 2


def test_a_sampler_that_is_ready_before_it_is_said_to_be_a_policys_is_published(registry):
    registry.leases[1] = lease = SamplerLease(next(sampler_keys), registry.service, registry.service.registry)
    registry.ready(1)
    registry.futures[1] = future = APIFuture(Tracker("publish", 0.0))
    registry.service.registry.tell(PublishPolicy(registry.policy, lease, future))
    calm_down(registry.simulation)
    assert future.result(0) == registry.version() == 1


def test_a_publication_that_fails_leaves_the_version_before(registry):
    registry.coming(1)
    registry.ready(1)
    registry.coming(2)
    registry.failed(2)
    assert registry.version() == 1
    with pytest.raises(RequestFailedError, match="no room for 2"):
        registry.futures[2].result(0)


def test_while_another_is_coming_a_failure_decides_nothing(registry):
    registry.coming(1)
    registry.coming(2)
    registry.failed(1)
    assert registry.version() is None
    assert registry.futures[1].exception(0)
    registry.failed(2)
    assert str(registry.version()) == "no room for 2", "samples fail, as nothing is coming"
    assert registry.futures[2].exception(0)
    registry.coming(3)
    calm_down(registry.simulation)
    assert registry.version() is None, "there is hope again"
    registry.ready(3)
    assert registry.version() == 3


def test_a_crash_of_the_registry_fails_what_is_coming_and_keeps_what_is_there(registry):
    registry.coming(1)
    registry.ready(1)
    registry.coming(2)
    calm_down(registry.simulation)
    registry.service.registry.tell(Publish(object(), None))  # no entry: it raises
    calm_down(registry.simulation)
    assert isinstance(registry.futures[2].exception(0), ActorCrashedError)
    assert registry.version() == 1
    registry.coming(3)
    registry.ready(3)
    assert registry.version() == 3


def test_a_closed_service_keeps_no_sampler_alive(simulation, service, registry):
    registry.coming(1)
    registry.ready(1)
    registry.coming(2)
    calm_down(simulation)
    simulation.close(service)
    calm_down(simulation)
    assert isinstance(registry.futures[2].exception(0), ClientClosedError)
    assert not any(isinstance(entry, PolicyEntry) for entry in registry.service.samplers.current.values())


# ---------------------------------------------------------------- lag


def test_a_sample_waits_when_the_newest_version_is_too_far_behind(simulation, trainer):
    policy = trainer.policy("main", max_lag=1)
    settle(simulation, policy.publish())
    settle(simulation, step(trainer))
    assert settle(simulation, policy.sample(PROMPT, 1, PARAMS))[0].weights_version == 0, "one behind is allowed"
    settle(simulation, step(trainer))
    waiting, pinned = policy.sample(PROMPT, 1, PARAMS), policy.pin().sample(PROMPT, 1, PARAMS)
    timed = policy.with_options(timeout=20).sample(PROMPT, 1, PARAMS)
    free = trainer.policy("main").sample(PROMPT, 1, PARAMS)
    assert [r.weights_version for r in settle(simulation, pinned, free)] == [0, 0], "a pin and others do not wait"
    simulation.wait_for(timed)
    assert isinstance(timed.exception(0), DeadlineExceededError)
    assert waiting.progress().reason == "waiting for newer weights"
    publication = policy.publish()
    assert settle(simulation, publication, waiting)[1].weights_version == 2


def test_what_is_trained_on_meanwhile_makes_nobody_wait_longer(simulation, trainer):
    policy = trainer.policy("main", max_lag=0)
    settle(simulation, policy.publish())
    settle(simulation, step(trainer))
    waiting = policy.sample(PROMPT, 1, PARAMS)
    assert settle(simulation, policy.publish(), step(trainer), waiting)[2].weights_version == 1


@pytest.mark.parametrize("lag", [0, 1, 2])
def test_the_lag_counts_the_steps_called_whether_or_not_they_were_sent(simulation, trainer, lag):
    policy = trainer.policy("main", max_lag=lag)
    settle(simulation, policy.publish())
    steps = [step(trainer), step(trainer)]  # neither has left yet
    sample = policy.sample(PROMPT, 1, PARAMS)
    publication = policy.publish()
    version, response, *_ = settle(simulation, publication, sample, *steps)
    assert version == 2, "as many as were called"
    assert version - response.weights_version <= lag
    assert (response.weights_version == 0) == (lag == 2), "and nobody waits who need not"


def test_a_step_that_was_kept_back_counts_for_both(simulation, trainer):
    policy = trainer.policy("main", max_lag=0)
    failed = trainer.step([ta.Datum(ta.ModelInput.from_ints([5000]), {"target_tokens": [1]})], "cross_entropy")
    simulation.wait_for(failed)
    assert failed.exception(0) is not None
    assert settle(simulation, policy.publish(), policy.sample(PROMPT, 1, PARAMS))[1].weights_version == 1


# ---------------------------------------------------------------- pins


def test_a_pin_keeps_its_version_for_the_whole_block(simulation, trainer):
    policy = trainer.policy("main").with_options(tags=["episode"])
    settle(simulation, policy.publish())
    with policy.pin() as pinned:
        assert pinned.weights_version == 0
        settle(simulation, step(trainer), policy.publish())
        samples = [pinned.sample(PROMPT, 1, PARAMS) for _ in range(3)]
        assert samples[0].progress().tags == ("episode",)
        view = pinned.with_options(timeout=60)
        samples.append(view.sample(PROMPT, 1, PARAMS))
    assert {r.weights_version for r in settle(simulation, *samples)} == {0}
    for over in (pinned, view):
        with pytest.raises(ClientClosedError, match="pin has ended"):
            over.sample(PROMPT, 1, PARAMS)
    assert pinned.weights_version is None
    assert policy.weights_version == 1


def test_a_pin_before_the_first_version_takes_that(simulation, trainer):
    policy = trainer.policy("main")
    pinned = policy.pin()
    early = [pinned.sample(PROMPT, 1, PARAMS) for _ in range(3)]
    assert pinned.weights_version is None
    settle(simulation, step(trainer), policy.publish())
    settle(simulation, step(trainer), policy.publish())
    late = pinned.sample(PROMPT, 1, PARAMS)
    assert {r.weights_version for r in settle(simulation, *early, late)} == {1}
    assert pinned.weights_version == 1


def test_a_pin_that_ends_before_the_first_version_keeps_none(simulation, service, trainer):
    policy = trainer.policy("main")
    with policy.pin() as pinned:
        samples = [pinned.sample(PROMPT, 1, PARAMS) for _ in range(3)]
    settle(simulation, policy.publish(), *samples)
    assert {sample.result(0).weights_version for sample in samples} == {0}
    settle(simulation, step(trainer), policy.publish())
    calm_down(simulation)
    assert len(published(service)) == 2, "the policy and its newest sampler"
    assert pinned.weights_version is None


# ---------------------------------------------------------------- endings


def test_without_a_model_publishing_and_sampling_fail(simulation, service):
    policy = service.create_lora_training_client("no/such").policy("main")
    sample, publication = policy.sample(PROMPT, 1, PARAMS), policy.publish()
    simulation.wait_for(sample, publication)
    assert type(sample.exception(0)) is type(publication.exception(0))
    assert "no/such" in str(sample.exception(0))


@pytest.mark.parametrize("told", ["before the crash is known", "after it"])
def test_when_training_has_crashed_publishing_and_new_samplers_fail(simulation, trainer, told):
    policy = trainer.policy("main", max_lag=0)
    settle(simulation, policy.publish(), step(trainer))
    trainer.actor_ref.tell(no_operation())
    if told == "after it":
        simulation.runtime.run_until(lambda: not trainer.actor_ref.is_alive())
    sampler = trainer.save_weights_and_get_sampling_client()
    publication, sample = policy.publish(), sampler.sample(PROMPT, 1, PARAMS)
    simulation.wait_for(publication, sampler._ready, sample)
    for future in (publication, sampler._ready, sample):
        assert isinstance(future.exception(0), ActorCrashedError)
    kept = policy.sample(PROMPT, 1, PARAMS)
    assert settle(simulation, kept)[0].weights_version == 0, "there will be no newer one to wait for"


def test_what_waits_for_newer_weights_takes_the_newest_there_is_when_training_crashes(simulation, trainer):
    policy = trainer.policy("main", max_lag=0)
    settle(simulation, policy.publish(), step(trainer))
    waiting = policy.sample(PROMPT, 1, PARAMS)
    calm_down(simulation)
    assert waiting.progress().reason == "waiting for newer weights"
    crash(simulation, trainer)
    assert settle(simulation, waiting)[0].weights_version == 0


@pytest.mark.parametrize("created", ["before", "after"])
def test_what_waits_for_a_first_version_fails_with_training(simulation, trainer, created):
    settle(simulation, trainer._ready)
    policy = trainer.policy("main") if created == "before" else None
    early = [] if policy is None else [policy.sample(PROMPT, 1, PARAMS), policy.pin().sample(PROMPT, 1, PARAMS)]
    calm_down(simulation)
    crash(simulation, trainer)
    policy = policy or trainer.policy("main")
    late = policy.sample(PROMPT, 1, PARAMS)
    simulation.wait_for(*early, late)
    for sample in (*early, late):
        assert isinstance(sample.exception(0), ActorCrashedError)


def test_what_was_saved_when_training_ends_is_published_all_the_same(simulation, service):
    trainer = service.create_lora_training_client("local/ledger")
    policy = trainer.policy("main")
    publication, waiting = policy.publish(), policy.sample(PROMPT, 1, PARAMS)
    del policy, trainer  # what was called is still done, and then its actor ends
    gc.collect()
    assert settle(simulation, publication, waiting)[1].weights_version == 0


def test_closing_does_not_wait_for_a_version_that_nobody_can_publish(simulation, service, trainer):
    policy = trainer.policy("main")
    sample = policy.sample(PROMPT, 1, PARAMS)
    settle(simulation, trainer._ready)
    began = simulation.runtime.clock.now()
    simulation.close(service)
    assert simulation.runtime.clock.now() - began < 5.0, "it was not waited for"
    assert isinstance(sample.exception(0), ClientClosedError)
    for call in (policy.publish, lambda: policy.sample(PROMPT, 1, PARAMS), lambda: trainer.policy("other")):
        with pytest.raises(ClientClosedError):
            call()


@pytest.mark.parametrize(("name", "lag"), [("", None), (None, None), ("main", -1), ("main", 0.5), ("main", True)])
def test_a_name_and_a_lag_that_can_not_be_are_refused(trainer, name, lag):
    with pytest.raises(InvalidInputError):
        trainer.policy(name, max_lag=lag)


def test_policies_say_what_they_are(simulation, trainer):
    policy = trainer.policy("main")
    assert repr(policy) == "<Policy 'main': nothing published>"
    assert repr(policy.pin()) == "<PinnedPolicy 'main': no version yet>"
    settle(simulation, policy.publish())
    assert repr(policy) == "<Policy 'main': version 0>"
    with policy.pin() as pinned:
        assert repr(pinned) == "<PinnedPolicy 'main': version 0>"
    assert repr(pinned) == "<PinnedPolicy 'main': ended>"
