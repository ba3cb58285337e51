"""Memory of samples that are drawn: what finds no room waits, and nobody waits for ever."""

from __future__ import annotations

import random

import msgspec
import pytest

from tinker_actors.local.core import Limits
from tinker_actors.local.core.access.authentication import Access
from tinker_actors.local.core.samples.footprint import LISTED_BYTES, Footprint, memory_of
from tinker_actors.local.ledger import LEDGER_NAME

OWNERS = {"tml-ann": "ann", "tml-bob": "bob", "tml-cid": "cid"}
PROMPT = 3
TOKEN = 10  # bytes


@pytest.fixture
def owners(make_driver):
    """Return a driver of an engine whose tokens take memory."""

    def make(drawing_bytes, **limits):
        driver = make_driver(Limits(drawing_bytes=drawing_bytes, **limits), access=Access(OWNERS))
        models = driver.core.state.engine.base_models
        models[LEDGER_NAME] = msgspec.structs.replace(models[LEDGER_NAME], token_bytes=TOKEN, sequence_bytes=1)
        driver.key = "tml-ann"
        return driver

    return make


def turn(driver):
    job = driver.core.next_job("sample")
    return None if job is None else driver.core.finish(job, job.run(), driver.now)


def live(driver):
    """What is drawn, in bytes."""
    batches = driver.core.state.sample_queue._live.values()
    return sum(memory_of([one.footprint for one in batch.live.values()]) for batch in batches)


def long(tokens):
    return {"max_tokens": tokens - PROMPT, "stop": []}


def test_sequences_that_are_drawn_together_are_as_long_as_the_longest():
    assert memory_of([]) == 0
    short, longer = Footprint(2, 10, 0, 3, 5), Footprint(1, 100, 7, 3, 5)
    assert memory_of([short]) == 2 * (10 * 3 + 5)
    assert memory_of([short, longer]) == 3 * (100 * 3 + 5) + 7 * LISTED_BYTES


def test_a_request_for_more_than_half_of_the_memory_is_refused(owners, bodies):
    driver = owners(10_000)
    sampler = driver.sampler()
    ask = bodies.sample(sampler, 0, num_samples=2, sampling_params=long(300))
    status, said = driver.call("asample", ask)
    assert status == 400
    assert all(word in said["detail"] for word in ("num_samples=2", "300 tokens", "5000 for a request"))
    driver.submit("asample", bodies.sample(sampler, 0, num_samples=2, sampling_params=long(240)))


def test_lists_take_memory_too(owners, bodies):
    fields = {"topk_sample_logprobs": 60, "sampling_params": long(10)}
    assert owners(10_000).call("asample", bodies.sample(None, None, base_model=LEDGER_NAME, **fields))[0] == 400
    assert owners(100_000).call("asample", bodies.sample(None, None, base_model=LEDGER_NAME, **fields))[0] == 200


def test_samples_that_find_no_room_wait_for_those_that_are_drawn(owners, bodies):
    driver = owners(10_000)
    sampler = driver.sampler()
    asked = [driver.submit("asample", bodies.sample(sampler, n, sampling_params=long(100))) for n in range(20)]
    most = 0
    while turn(driver) is not None:
        most = max(most, live(driver))
    assert 3_000 < most <= 5_100, "an owner has what is still free"
    assert all(len(driver.result(one)["sequences"][0]["tokens"]) == 97 for one in asked)


def test_another_owner_finds_room_beside_who_has_all_he_can_have(owners, bodies):
    driver = owners(10_000)
    sampler = driver.sampler()
    for number in range(20):
        driver.submit("asample", bodies.sample(sampler, number, sampling_params=long(100)))
    turn(driver)
    driver.key = "tml-bob"
    mine = driver.submit("asample", bodies.sample(driver.sampler(), 0, sampling_params=long(20)))
    assert mine in turn(driver) | turn(driver) | turn(driver)


def test_a_large_sample_is_not_kept_out_by_small_ones_that_keep_coming(owners, bodies):
    driver = owners(10_000)
    sampler = driver.sampler()
    numbers = iter(range(10**6))

    def small():
        driver.submit("asample", bodies.sample(sampler, next(numbers), sampling_params=long(40)))

    for _ in range(10):
        small()
    turn(driver)
    driver.key = "tml-bob"
    large = driver.submit("asample", bodies.sample(driver.sampler(), 0, sampling_params=long(499)))
    driver.key = "tml-ann"
    for _ in range(100):
        small()
        if large in (turn(driver) or ()):
            return
    pytest.fail("it was kept out")


def test_one_that_is_not_wanted_any_more_keeps_nobody_out(owners, bodies):
    driver = owners(10_000)
    sampler = driver.sampler()
    first = driver.submit("asample", bodies.sample(sampler, 0, sampling_params=long(200)))
    turn(driver)
    driver.key = "tml-bob"
    theirs = driver.session()
    other = driver.sampler(theirs)
    driver.submit("asample", bodies.sample(other, 0, sampling_params=long(450)))
    turn(driver)
    driver.good(f"sessions/{theirs}/finish", {"reason": {"type": "success"}})
    driver.key = "tml-ann"
    second = driver.submit("asample", bodies.sample(sampler, 1, sampling_params=long(10)))
    assert second in (turn(driver) | turn(driver))
    driver.work()
    assert driver.result(first)["sequences"]


@pytest.mark.parametrize("seed", range(20))
def test_everything_is_drawn_in_the_end_and_never_more_than_fits(owners, bodies, seed):
    """Of several owners and weights, whatever they ask for and when."""
    chance = random.Random(seed)
    driver = owners(10_000, live_batches=2, batched_sequences=8)
    samplers = {}
    for key in OWNERS:
        driver.key = key
        session = driver.session()
        model = driver.model(session)
        samplers[key] = [driver.sampler(session)]
        for number in (1, 2):
            body = {"model_id": model, "seq_id": number, "sampling_session_seq_id": number}
            request_id = driver.submit("save_weights_for_sampler", body)
            driver.work("train")
            samplers[key].append(driver.result(request_id)["sampling_session_id"])
    asked = []
    for number in range(60):
        driver.key = chance.choice(list(OWNERS))
        count, tokens = chance.choice([(1, 20), (1, 490), (4, 120), (2, 50), (1, 100)])
        params = {"num_samples": count, "sampling_params": long(tokens)}
        sampler = chance.choice(samplers[driver.key])
        asked.append((driver.key, driver.submit("asample", bodies.sample(sampler, number, **params))))
        for _ in range(chance.randrange(3)):
            turn(driver)
            assert live(driver) <= 10_000
    while turn(driver) is not None:
        assert live(driver) <= 10_000
    for driver.key, request_id in asked:
        assert driver.result(request_id)["sequences"]
