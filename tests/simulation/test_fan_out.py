"""Hundreds of samples at once on a network that misbehaves: heard of, polled in turns, refused for lack of room."""

from __future__ import annotations

import pytest

import tinker_actors as ta
from tinker_actors.local.core import Answer as CoreAnswer
from tinker_actors.testing import Mishaps, Simulation
from tinker_actors.testing.network import CALM

pytestmark = pytest.mark.slow

SAMPLES = 60
STORM = Mishaps(
    refused=0.1, request_lost=0.1, answer_lost=0.15, twice=0.15, busy=0.1, throttled=0.05, slow=0.4, longest=8.0
)


def fan_out(seed, mishaps, *, samples=SAMPLES, spoil=None, **config):
    """Sample from one sampler; return what came back, the endpoints that were asked, and the simulation."""
    simulation = Simulation(seed, mishaps, creation_timeout=1000.0, **config)
    handle, asked = simulation.core.handle, []

    def listen(request, now):
        asked.append(request.path.rsplit("/", 1)[1])
        answer = spoil(request, asked) if spoil is not None else None
        return answer or handle(request, now)

    simulation.core.handle = listen
    service = simulation.service()
    sampler = service.create_sampling_client(base_model="local/ledger")
    prompt = ta.ModelInput.from_ints([1, 2, 3])
    futures = [sampler.sample(prompt, 1, ta.SamplingParams(max_tokens=4, seed=i)) for i in range(samples)]
    simulation.wait_for(*futures)
    assert not service._service.lanes.under_way(service._service.link)
    simulation.close(service)
    return [future.result(0).sequences[0].tokens for future in futures], asked, simulation


@pytest.fixture(scope="module")
def undisturbed():
    tokens, asked, _ = fan_out(0, CALM, use_retrieve_futures=False)
    assert "retrieve_futures" not in asked
    return tokens


@pytest.mark.parametrize("mishaps", [Mishaps(), STORM], ids=["mishaps", "storm"])
@pytest.mark.parametrize("hear", [True, False], ids=["heard of", "polled"])
def test_every_sample_comes_back_once(hear, mishaps, undisturbed):
    for seed in range(20):
        tokens, asked, _ = fan_out(seed, mishaps, use_retrieve_futures=hear)
        assert tokens == undisturbed, f"seed {seed}"
        assert ("retrieve_futures" in asked) == hear


def test_few_requests_are_held_for_samples_that_are_heard_of(undisturbed):
    tokens, asked, _ = fan_out(1, CALM)
    assert tokens == undisturbed
    assert asked.count("retrieve_future") == SAMPLES
    assert 1 <= asked.count("retrieve_futures") < SAMPLES / 2


def test_a_server_that_stops_telling_loses_nothing(undisturbed):
    def refuse(request, asked):
        if request.path.endswith("retrieve_futures") and asked.count("retrieve_futures") > 2:
            return CoreAnswer(404, b'{"detail":"not here"}')
        return None

    for seed in range(10):
        tokens, _, _ = fan_out(seed, Mishaps(), use_retrieve_futures=True, spoil=refuse)
        assert tokens == undisturbed, f"seed {seed}"


def test_completions_that_are_lost_are_found(undisturbed):
    def swallow(request, asked):
        if request.path.endswith("retrieve_futures") and asked.count("retrieve_futures") % 2:
            return CoreAnswer(200, b'{"completions":[],"cursor":1000000}')
        return None

    for seed in range(5):
        tokens, _, _ = fan_out(seed, CALM, use_retrieve_futures=True, spoil=swallow)
        assert tokens == undisturbed, f"seed {seed}"


def test_polls_that_take_turns_lose_nothing(undisturbed):
    for seed in range(10):
        tokens, _, _ = fan_out(seed, Mishaps(), use_retrieve_futures=False, max_connections=11)
        assert tokens == undisturbed, f"seed {seed}"


class Room:
    """A server that takes so many samples at a time."""

    def __init__(self, places):
        self.places, self.core, self.ids, self.refused = places, None, [], 0

    def __call__(self, request, asked):
        if not request.path.endswith("asample"):
            return None
        unfinished = asked.count("asample") - self.refused - 1 - asked.count("retrieve_future")
        if unfinished >= self.places:
            self.refused += 1
            return CoreAnswer(429, b'{"detail":"too many samples"}')
        return None


def test_a_server_with_little_room_is_not_overrun(undisturbed):
    for seed in range(5):
        room = Room(4)
        tokens, asked, _ = fan_out(seed, CALM, samples=SAMPLES, spoil=room, use_retrieve_futures=True)
        assert tokens == undisturbed, f"seed {seed}"
        assert room.refused < asked.count("asample") / 2
