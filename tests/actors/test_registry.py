"""The registry: what it publishes, whom it wakes, and which of two publications a policy has in the end."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tinker_actors.actors.messages import Barrier, Publish, PublishPolicy, Retire, Shutdown, TrainingEnded
from tinker_actors.actors.registry import PolicyEntry, Registry
from tinker_actors.actors.service import SamplerEntry
from tinker_actors.errors import ClientClosedError, TinkerError
from tinker_actors.protocol.limits.remarks import Rarely
from tinker_actors.runtime.actor import tell
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.progress import Tracker
from tinker_actors.runtime.snapshot import Snapshot
from tinker_actors.testing.step import StepRuntime

POLICY = 100


class Stage:
    """A registry of a service that has nothing else."""

    def __init__(self):
        self.runtime, self.woken, self.seen, self.passed_on, self.said = StepRuntime(seed=1), [], [], [], []
        self.policy = SimpleNamespace(key=POLICY, name="main", remarks=Rarely())
        self.samplers = Snapshot()
        self.service = SimpleNamespace(
            platform=SimpleNamespace(control=self.runtime),
            samplers=self.samplers,
            lanes=SimpleNamespace(wake_sampling=lambda message: self.wake(message.key)),
            ended=None,
            story=SimpleNamespace(says=lambda _level, said, *facts: self.said.append(said % facts)),
            tell_registry=self.passed_on.append,
        )
        self.start()

    def wake(self, key):
        entry = self.samplers.current.get(key)
        self.woken.append(key)
        self.seen.append(None if entry is None else entry.state)

    def start(self):
        registry = Registry(self.service)
        self.ref = registry.actor_ref
        self.runtime.run(registry)

    def tell(self, *messages):
        for message in messages:
            tell(self.ref, message)
        while self.runtime.step():
            pass

    def future(self):
        return APIFuture(Tracker("publish", 0.0), delivery=self.runtime)

    def publication(self, key):
        """Return a publication of the sampler with this key for the policy."""
        lease = SimpleNamespace(key=key, entry=lambda: self.samplers.current.get(key))
        return PublishPolicy(self.policy, lease, self.future())


@pytest.fixture
def stage():
    return Stage()


def ready(version, order=0):
    return SamplerEntry("ready", sampling_session_id=f"s{version}", weights_version=version, order=order)


def test_entries_are_there_before_anybody_is_woken(stage):
    stage.tell(Publish(1, SamplerEntry("creating")))
    stage.tell(Publish(1, ready(3)))
    assert stage.samplers.current[1].weights_version == 3
    stage.tell(Retire(1))
    assert 1 not in stage.samplers.current
    assert list(zip(stage.woken, stage.seen, strict=True)) == [(1, "creating"), (1, "ready"), (1, None)]


def test_what_comes_together_is_published_in_one_state(stage):
    """A state is a copy of all entries: with thousands of samplers, one for each change took seconds."""
    states = []

    class Counted(Snapshot):
        def change(self, *changes):
            super().change(*changes)
            states.append(dict(self.current))

    stage.samplers = stage.service.samplers = Counted()
    stage.start()
    publications = [stage.publication(key) for key in range(1, 4)]
    together = [[publication, Publish(key, ready(key, order=key))] for key, publication in enumerate(publications, 1)]
    stage.tell(*(message for pair in together for message in pair), Retire(2))
    assert len(states) == 1
    assert set(states[0]) == {1, 3, POLICY}
    assert states[0][POLICY].weights_version == 3
    assert [publication.future.result(0) for publication in publications] == [1, 2, 3]
    assert stage.woken == [1, POLICY, 2, 3]


def test_a_publication_is_told_when_it_can_be_sampled_from(stage):
    publication, seen = stage.publication(1), []
    publication.future.add_done_callback(lambda _: seen.append(POLICY in stage.samplers.current))
    stage.tell(publication, Publish(1, ready(1)))
    assert seen == [True]


@pytest.mark.parametrize("first", ["publication", "sampler"])
def test_a_policy_has_the_entry_of_its_sampler_when_that_is_ready(stage, first):
    publication = stage.publication(1)
    stage.tell(
        *([publication, Publish(1, ready(3))] if first == "publication" else [Publish(1, ready(3)), publication])
    )
    entry = stage.samplers.current[POLICY]
    assert isinstance(entry, PolicyEntry)
    assert (entry.weights_version, entry.lease) == (3, publication.lease)
    assert publication.future.result(0) == 3
    assert stage.said == ["Published version 3 of policy 'main'"]
    assert POLICY in stage.woken


def test_the_publication_that_was_called_last_stays_whichever_is_ready_first(stage):
    older, newer = stage.publication(1), stage.publication(2)
    stage.tell(older, newer, Publish(2, ready(2, order=2)), Publish(1, ready(1, order=1)))
    assert stage.samplers.current[POLICY].weights_version == 2
    assert (older.future.result(0), newer.future.result(0)) == (1, 2)


def test_a_publication_that_fails_leaves_the_version_that_was_there(stage):
    good, bad = stage.publication(1), stage.publication(2)
    stage.tell(good, Publish(1, ready(1)), bad, Publish(2, SamplerEntry("failed", error=TinkerError("disk full"))))
    assert stage.samplers.current[POLICY].weights_version == 1
    assert "disk full" in str(bad.future.exception(0))


def test_the_first_publication_that_fails_fails_the_policy_until_another_is_called(stage):
    bad = stage.publication(1)
    stage.tell(bad, Publish(1, SamplerEntry("failed", error=TinkerError("disk full"))))
    assert bad.future.exception(0) is not None
    assert stage.samplers.current[POLICY].state == "failed"
    stage.tell(stage.publication(2))
    assert POLICY not in stage.samplers.current  # samples wait again


def test_a_barrier_is_lifted_when_nothing_is_being_published(stage):
    publication, barrier = stage.publication(1), Barrier(stage.future())
    barrier.future.add_done_callback(lambda _: stage.said.append(f"lifted with {stage.samplers.current[POLICY].state}"))
    stage.tell(publication, barrier)
    assert not barrier.future.done()
    stage.tell(Publish(1, ready(1)))
    assert barrier.future.done()
    assert stage.said[-1] == "lifted with ready"


def test_training_that_ends_fails_the_policies_that_nobody_will_publish(stage):
    stage.tell(TrainingEnded((POLICY,), TinkerError("the model is gone")))
    assert "the model is gone" in str(stage.samplers.current[POLICY].error)


def test_training_that_ends_leaves_what_is_published(stage):
    stage.tell(stage.publication(1), Publish(1, ready(1)), TrainingEnded((POLICY,), TinkerError("gone")))
    assert stage.samplers.current[POLICY].weights_version == 1


def test_what_comes_too_late_goes_to_the_successor_and_what_was_published_is_still_there(stage):
    stage.tell(Publish(1, ready(1)))
    publication, late = stage.publication(2), Publish(3, ready(3))
    stage.tell(publication, Shutdown(TinkerError("stopped")), late)
    assert "stopped" in str(publication.future.exception(0))
    assert stage.passed_on == [late]
    stage.start()
    stage.tell(late)
    assert set(stage.samplers.current) >= {1, 3}


def test_the_end_of_the_service_fails_every_sampler_and_keeps_no_policy(stage):
    stage.tell(Publish(1, ready(1)), stage.publication(1), Publish(2, SamplerEntry("creating")))
    stage.service.ended = ClientClosedError("closed")
    stage.tell(Shutdown(stage.service.ended))
    assert {key: entry.state for key, entry in stage.samplers.current.items()} == {1: "failed", 2: "failed"}
