"""Continuous batching: who joins whose batch, whose turn it is, and when an answer comes."""

from __future__ import annotations

import json

import pytest

from tinker_actors.local.core import Limits
from tinker_actors.local.core.access.authentication import Access
from tinker_actors.local.core.samples import sampling
from tinker_actors.local.core.samples.batch import (
    MOST_DEBT,
    PROMPT_TOKENS_PER_TOKEN,
    PROMPT_TOKENS_PER_TURN,
    STEPS_PER_TURN,
)
from tinker_actors.local.core.samples.streams import TokenStream
from tinker_actors.local.ledger import LEDGER_NAME, LedgerDecoding

LONG = {"max_tokens": 1000, "stop": []}


def turn(driver):
    job = driver.core.next_job("sample")
    if job is None:
        return None
    return driver.core.finish(job, job.run(), driver.now)


def drawing(driver):
    return driver.core.state.sample_queue.drawing


@pytest.fixture
def trained(make_driver):
    """Return samplers with weights of their own, all of one session."""

    def make(driver, count):
        session = driver.session()
        model = driver.model(session)
        found = []
        for number in range(count):
            body = {"model_id": model, "seq_id": number + 1, "sampling_session_seq_id": number}
            request_id = driver.submit("save_weights_for_sampler", body)
            driver.work("train")
            found.append(driver.result(request_id)["sampling_session_id"])
        return found

    return make


def test_a_short_sample_joins_a_long_one_and_is_answered_first(driver, bodies):
    sampler = driver.sampler()
    long = driver.submit("asample", bodies.sample(sampler, 0, sampling_params=LONG))
    turn(driver)
    short = driver.submit("asample", bodies.sample(sampler, 1))
    assert short in turn(driver)
    assert drawing(driver) == 1
    driver.work()
    assert len(driver.result(long)["sequences"][0]["tokens"]) == 1000


def test_an_answer_does_not_wait_for_the_end_of_its_turn(driver, bodies):
    sampler = driver.sampler()
    driver.submit("asample", bodies.sample(sampler, 0, sampling_params=LONG))
    short = driver.submit("asample", bodies.sample(sampler, 1, sampling_params={"max_tokens": 1}))
    assert turn(driver) == {short}


def test_a_turn_ends_at_once_when_somebody_comes_who_fits_in(driver, bodies, monkeypatch):
    """As when the request arrives while the worker's thread is decoding."""
    sampler = driver.sampler()
    driver.submit("asample", bodies.sample(sampler, 0, sampling_params=LONG))
    steps = []
    step = LedgerDecoding.step

    def busy(decoding):
        steps.append(None)
        if len(steps) == 3:
            driver.submit("asample", bodies.sample(sampler, 1))
        return step(decoding)

    monkeypatch.setattr(LedgerDecoding, "step", busy)
    turn(driver)
    assert len(steps) == 3
    turn(driver)
    assert drawing(driver) == 1


def test_a_turn_is_no_longer_than_a_few_tokens(driver, bodies, monkeypatch):
    driver.submit("asample", bodies.sample(driver.sampler(), 0, sampling_params=LONG))
    steps = []
    step = LedgerDecoding.step
    monkeypatch.setattr(LedgerDecoding, "step", lambda decoding: steps.append(None) or step(decoding))
    turn(driver)
    assert len(steps) == STEPS_PER_TURN


def test_a_batch_takes_no_more_completions_than_fit_in(make_driver, bodies):
    driver = make_driver(Limits(batched_sequences=4))
    sampler = driver.sampler()
    for number in range(3):
        driver.submit("asample", bodies.sample(sampler, number, num_samples=2, sampling_params=LONG))
    turn(driver)
    assert drawing(driver) == 2
    assert len(driver.core.state.sample_queue) == 1
    driver.work()
    assert drawing(driver) == len(driver.core.state.sample_queue) == 0


def test_a_request_for_many_completions_leaves_half_of_the_room_to_others(make_driver, bodies):
    driver = make_driver(Limits(batched_sequences=4))
    sampler = driver.sampler()
    many = driver.submit("asample", bodies.sample(sampler, 0, num_samples=100, sampling_params=LONG))
    shorts = [driver.submit("asample", bodies.sample(sampler, number)) for number in (1, 2)]
    assert turn(driver) == set(shorts)
    driver.work()
    assert len(driver.result(many)["sequences"]) == 100


def test_weights_take_turns(driver, bodies, trained):
    one, two = trained(driver, 2)
    driver.submit("asample", bodies.sample(one, 0, sampling_params=LONG))
    other = driver.submit("asample", bodies.sample(two, 0, sampling_params={**LONG, "max_tokens": 2 * STEPS_PER_TURN}))
    decided = [turn(driver) for _ in range(4)]
    assert decided == [set(), set(), set(), {other}]


def test_with_more_weights_than_places_nobody_is_kept_waiting_by_newcomers(make_driver, bodies, trained):
    driver = make_driver(Limits(live_batches=2))
    *busy, late = trained(driver, 3)
    count = 0

    def keep_busy():
        nonlocal count
        for sampler in busy:
            driver.submit("asample", bodies.sample(sampler, count, sampling_params={"max_tokens": 40, "stop": []}))
            count += 1

    keep_busy()
    turn(driver)
    waiting = driver.submit("asample", bodies.sample(late, 0))
    for _ in range(20):
        keep_busy()
        if waiting in (turn(driver) or ()):
            break
    else:
        raise AssertionError("its turn never came")
    driver.work()
    assert drawing(driver) == 0


def test_weights_that_nobody_samples_from_any_more_leave_no_decoding_behind(driver, bodies):
    driver.submit("asample", bodies.sample(driver.sampler()))
    driver.work()
    queue = driver.core.state.sample_queue
    assert not queue._live
    assert not queue._line


def test_what_goes_wrong_while_decoding_fails_those_who_were_there_and_no_later_one(driver, bodies, monkeypatch):
    sampler = driver.sampler()
    ids = [driver.submit("asample", bodies.sample(sampler, number, sampling_params=LONG)) for number in range(2)]
    turn(driver)
    with monkeypatch.context() as patched:
        patched.setattr(LedgerDecoding, "step", lambda _: (_ for _ in ()).throw(ValueError("not finite")))
        decided = set()
        while drawing(driver) or len(driver.core.state.sample_queue):
            decided |= turn(driver)
        assert decided == set(ids)
    assert {driver.result(one)["error"] for one in ids} == {"not finite."}
    later = driver.submit("asample", bodies.sample(sampler, 2))
    driver.work()
    assert driver.result(later)["type"] == "sample"


def test_an_answer_that_can_not_be_made_fails_alone(driver, bodies, monkeypatch):
    sampler = driver.sampler()
    asked = [driver.submit("asample", bodies.sample(sampler, number)) for number in range(3)]
    encoded = sampling._encoded

    def broken(sample, output):
        if sample.future.request_id == asked[1]:
            raise RuntimeError("no words")
        return encoded(sample, output)

    monkeypatch.setattr(sampling, "_encoded", broken)
    driver.work()
    assert [driver.result(request_id).get("category") for request_id in asked] == [None, "server", None]


def test_a_stream_that_can_not_be_written_fails_alone_and_its_batch_goes_on(driver, bodies, monkeypatch):
    def broken(*_):
        raise RuntimeError("no words")

    sampler = driver.sampler()
    monkeypatch.setattr(TokenStream, "add", broken)
    stream = driver.raw("stream_sample", json.dumps(bodies.sample(sampler, None, sampling_params=LONG)).encode())
    other = driver.submit("asample", bodies.sample(sampler, 1))
    driver.work()
    assert stream.future.failed
    assert driver.result(other)["type"] == "sample"


def test_a_session_that_ends_takes_its_samples_out_of_the_batch(driver, bodies):
    session = driver.session()
    gone, stays = driver.sampler(session), driver.sampler()
    driver.submit("asample", bodies.sample(gone, 0, sampling_params=LONG))
    kept = driver.submit("asample", bodies.sample(stays, 0, sampling_params=LONG))
    turn(driver)
    driver.good(f"sessions/{session}/finish", {"reason": {"type": "success"}})
    turn(driver)
    assert drawing(driver) == 1
    driver.work()
    assert driver.result(kept)["type"] == "sample"


def test_samples_of_the_base_model_share_a_batch_whoever_asks(driver, bodies):
    for number in range(2):
        driver.submit("asample", bodies.sample(driver.sampler(), number, sampling_params=LONG))
    driver.submit("asample", {**bodies.sample(None, None, sampling_params=LONG), "base_model": LEDGER_NAME})
    turn(driver)
    assert len(driver.core.state.sample_queue._live) == 1
    assert drawing(driver) == 3


def poisoned(monkeypatch, prompt, place):
    """Have the engine fail whenever a sample with this prompt is in what it is given, or gets to its n-th step."""
    admit, step = LedgerDecoding.admit, LedgerDecoding.step
    inside: dict[LedgerDecoding, int] = {}

    def checked_admit(decoding, tasks):
        if any(task.prompt.tolist() == prompt for _, task in tasks):
            inside[decoding] = 0
            if place == 0:
                raise OverflowError("poisoned")
        return admit(decoding, tasks)

    def checked_step(decoding):
        if decoding in inside:
            inside[decoding] += 1
            if inside[decoding] >= place:
                raise OverflowError("poisoned")
        return step(decoding)

    monkeypatch.setattr(LedgerDecoding, "admit", checked_admit)
    monkeypatch.setattr(LedgerDecoding, "step", checked_step)


@pytest.mark.parametrize("place", [0, 1, 40])
def test_one_sample_that_the_engine_fails_on_fails_alone(driver, bodies, monkeypatch, place):
    sampler = driver.sampler()
    params = {"max_tokens": 60, "stop": [], "seed": 3}
    expected = driver.submit("asample", bodies.sample(sampler, 0, sampling_params=params))
    driver.work()
    poison = [7, 7, 7]
    poisoned(monkeypatch, poison, place)
    good = [driver.submit("asample", bodies.sample(sampler, number, sampling_params=params)) for number in range(1, 12)]
    body = bodies.sample(sampler, 12, sampling_params=params, prompt={"chunks": [{"tokens": poison}]})
    bad = driver.submit("asample", body)
    good += [driver.submit("asample", bodies.sample(sampler, number, sampling_params=params)) for number in (13, 14)]
    driver.work()
    assert "OverflowError: poisoned" in driver.result(bad)["error"]
    tokens = driver.result(expected)["sequences"][0]["tokens"]
    assert [driver.result(each)["sequences"][0]["tokens"] for each in good] == [tokens] * len(good)
    assert drawing(driver) == len(driver.core.state.sample_queue) == 0


def test_a_stream_goes_on_where_it_was_when_its_batch_is_drawn_again(driver, bodies, monkeypatch):
    sampler = driver.sampler()
    params = {"max_tokens": 60, "stop": [], "seed": 3}
    poisoned(monkeypatch, [7, 7, 7], 40)
    stream = driver.raw("stream_sample", json.dumps(bodies.sample(sampler, None, sampling_params=params)).encode())
    driver.submit(
        "asample", bodies.sample(sampler, 1, sampling_params=params, prompt={"chunks": [{"tokens": [7, 7, 7]}]})
    )
    driver.work()
    said, over = driver.core.take_events(stream)
    assert over
    events = [json.loads(line.removeprefix(b"data: ")) for line in said.split(b"\n\n") if line]
    assert [event["index"] for event in events[:-1]] == list(range(60))


# ---------------------------------------------------------------- owners

OWNERS = {"tml-ann": "ann", "tml-bob": "bob"}


@pytest.fixture
def owners(make_driver):
    def make(**limits):
        return make_driver(Limits(**limits), access=Access(OWNERS))

    return make


def as_owner(driver, owner):
    driver.key = f"tml-{owner}"
    return driver


def test_whoever_fills_a_batch_keeps_no_other_owner_waiting(owners, bodies):
    driver = owners(batched_sequences=4)
    sampler = as_owner(driver, "ann").sampler()
    for number in range(50):
        driver.submit("asample", bodies.sample(sampler, number, sampling_params=LONG))
    for _ in range(3):
        turn(driver)
    mine = as_owner(driver, "bob").sampler()
    waiting = [driver.submit("asample", bodies.sample(mine, number)) for number in range(3)]
    decided = [turn(driver) for _ in range(3)]
    assert set().union(*decided) == set(waiting)


def test_an_owner_of_many_weights_keeps_no_other_waiting(owners, bodies, trained):
    driver = owners(live_batches=2)
    for place, sampler in enumerate(trained(as_owner(driver, "ann"), 6)):
        for number in range(3):
            driver.submit("asample", bodies.sample(sampler, number, sampling_params=LONG | {"seed": place}))
    for _ in range(6):
        turn(driver)
    mine = as_owner(driver, "bob").sampler()
    waiting = driver.submit("asample", bodies.sample(mine, 0))
    assert waiting in turn(driver) | turn(driver)


def test_turns_go_to_owners_and_not_to_weights(owners, bodies, trained):
    driver = owners(live_batches=8)
    for sampler in trained(as_owner(driver, "ann"), 4):
        driver.submit("asample", bodies.sample(sampler, 0, sampling_params=LONG))
    turn(driver)
    mine = as_owner(driver, "bob").sampler()
    drawn = driver.submit(
        "asample", bodies.sample(mine, 0, sampling_params={**LONG, "max_tokens": 10 * STEPS_PER_TURN})
    )
    turns = next(number for number in range(1, 100) if drawn in turn(driver))
    assert turns <= 22, "an owner with four weights had more than every other turn"


@pytest.mark.parametrize("length", [30, 1000])
def test_prompts_of_one_owner_take_no_more_time_than_the_tokens_of_another(owners, bodies, length):
    driver = owners()
    sampler = as_owner(driver, "ann").sampler()
    prompt = {"chunks": [{"tokens": [1] * length}]}
    theirs = [
        driver.submit("asample", bodies.sample(sampler, number, prompt=prompt, sampling_params={"max_tokens": 1}))
        for number in range(300)
    ]
    turn(driver)
    mine = as_owner(driver, "bob").sampler()
    drawn = driver.submit("asample", bodies.sample(mine, 0, sampling_params={**LONG, "max_tokens": 400}))
    decided = set()
    while drawn not in decided:
        decided |= turn(driver)
    run = length * len(decided & set(theirs))
    assert run <= PROMPT_TOKENS_PER_TURN + MOST_DEBT + length + 400 * PROMPT_TOKENS_PER_TOKEN
    assert run >= 400 * PROMPT_TOKENS_PER_TOKEN / 2, "nor less: half of the time is theirs"
    driver.work()
    as_owner(driver, "ann")
    assert all(driver.result(one)["sequences"] for one in theirs)
