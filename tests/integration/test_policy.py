"""A live policy on the embedded server: many threads sample while version after version is published."""

from __future__ import annotations

import asyncio
import gc
import threading

import pytest

import tinker_actors as ta

from .conftest import HANG
from .helpers import datum, eventually, prompt
from .test_sampling import block

VERSIONS = 500
THREADS = 64
# Publications under way at a time: enough that versions overlap, few enough that they differ.
DEPTH = 8
PROMPT = ta.ModelInput.from_ints([1, 2, 3])
PARAMS = ta.SamplingParams(max_tokens=4)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory):
    with ta.local_server(data_dir=str(tmp_path_factory.mktemp("ledger")), engine="ledger") as running:
        yield running


@pytest.fixture
def service(ledger):
    with ta.ServiceClient(base_url=ledger.url) as client:
        yield client


@pytest.fixture
def trainer(service):
    return service.create_lora_training_client("local/ledger", rank=4, seed=0)


class Roller(threading.Thread):
    """Samples on its own and in a pinned episode at each of its turns until told to stop; notes the versions."""

    def __init__(self, policy, turns, stop):
        super().__init__()
        self.policy, self.turns, self.stop = policy, turns, stop
        self.versions, self.episodes, self.error = [], [], None

    def run(self):
        try:
            while self.turns.acquire() and not self.stop.is_set():
                self.versions.append(self.policy.sample(PROMPT, 1, PARAMS).result(HANG).weights_version)
                with self.policy.pin() as pinned:
                    version = pinned.weights_version
                    first = pinned.sample(PROMPT, 1, PARAMS).result(HANG)
                    second = pinned.sample(PROMPT, 1, PARAMS).result(HANG)
                    self.episodes.append({version, first.weights_version, second.weights_version})
        except Exception as error:
            self.error = error


@pytest.mark.slow
def test_64_threads_sample_while_500_versions_are_published(service, trainer):
    policy = trainer.policy("main")
    policy.publish().result(HANG)
    policy.sample(PROMPT, 1, PARAMS).result(HANG)
    before = set(threading.enumerate())
    stop, turns = threading.Event(), threading.Semaphore(0)
    rollers = [Roller(policy, turns, stop) for _ in range(THREADS)]
    for roller in rollers:
        roller.start()
    published = []
    for _ in range(VERSIONS):
        trainer.optim_step()
        published.append(policy.publish())
        turns.release()  # an episode to each publication: the server shall have time for both
        if len(published) > DEPTH:
            published[-DEPTH].result(HANG)
    versions = [future.result(HANG) for future in published]
    last = policy.sample(PROMPT, 1, PARAMS).result(HANG).weights_version
    stop.set()
    turns.release(THREADS)
    for roller in rollers:
        roller.join(HANG)
    assert [roller.error for roller in rollers if roller.error] == []
    assert versions == list(range(1, VERSIONS + 1))
    assert last == VERSIONS
    for roller in rollers:
        assert roller.versions == sorted(roller.versions), "a thread never goes back"
        assert {len(episode) for episode in roller.episodes} <= {1}, "an episode has one version"
    seen = {version for roller in rollers for version in roller.versions}
    assert seen <= set(range(VERSIONS + 1))
    assert len(seen) > DEPTH, "they sampled meanwhile"

    del policy, roller, rollers, published
    samplers = service._service.samplers
    eventually(lambda: len(samplers.current) == 2)  # the policy and its newest sampler
    eventually(lambda: not service._service.lanes.under_way(service._service.link))
    assert (service._service.lanes.queue_budget.held, service._service.lanes.queue_budget.holders) == (0, 0)
    assert not [t for t in set(threading.enumerate()) - before if "connector" not in t.name]
    children = str(service.tree())
    assert children.count("sampling-") == 1
    del trainer


def test_a_dropped_policy_leaves_nothing_behind(service):
    trainer = service.create_lora_training_client("local/ledger", rank=4, seed=0)
    policy = trainer.policy("main")
    for _ in range(5):
        trainer.optim_step()
        policy.publish().result(HANG)
    with policy.pin() as pinned:
        pinned.sample(PROMPT, 1, PARAMS).result(HANG)
    del policy, pinned, trainer
    gc.collect()
    eventually(lambda: not service._service.samplers.current)
    eventually(lambda: "2 children" in str(service.tree()))


def test_sampling_goes_on_while_every_control_actor_is_blocked(service, trainer):
    policy = trainer.policy("main")
    policy.publish().result(HANG)
    entry = policy._state.entry()
    release = block(service._service.registry)  # and with it the thread that all of them run on
    try:
        with policy.pin() as pinned:
            futures = [source.sample(PROMPT, 1, PARAMS) for source in (policy, pinned) for _ in range(20)]
        assert {future.result(HANG).weights_version for future in futures} == {0}
        assert not release.is_set()
        assert policy._state.entry() is entry
    finally:
        release.set()


def test_a_publication_is_seen_by_everybody_when_it_is_done(service, trainer):
    policy = trainer.policy("main")
    for version in range(1, 20):
        trainer.optim_step()
        assert policy.publish().result(HANG) == version
        assert policy.weights_version == version
        assert policy.sample(PROMPT, 1, PARAMS).result(HANG).weights_version == version


def test_a_policy_does_what_every_sampler_does(server):
    with ta.ServiceClient(base_url=server.url) as service:
        trainer = service.create_lora_training_client("local/tiny", rank=4, seed=0)
        policy = trainer.policy("main")
        early = policy.map([prompt("a"), prompt("b")], 2, ta.SamplingParams(max_tokens=3, stop=[]))
        step, publication = trainer.step([datum()], "cross_entropy"), policy.publish()
        assert sorted(index for index, _ in early) == [0, 1]
        assert publication.result(HANG) == 1
        step.result(HANG)
        with policy.with_options(priority="eval").pin() as pinned:
            assert pinned.get_base_model() == policy.get_base_model() == "local/tiny"
            scores = policy.compute_logprobs(prompt("hello")).result(HANG)
            assert scores == pinned.compute_logprobs(prompt("hello")).result(HANG)

        async def main():
            response = await policy.sample_async(prompt("a"), 1, ta.SamplingParams(max_tokens=3))
            return response.weights_version, await policy.get_base_model_async(), await pinned.get_base_model_async()

        assert asyncio.run(main()) == (1, "local/tiny", "local/tiny")
