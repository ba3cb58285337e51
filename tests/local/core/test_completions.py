"""`retrieve_futures` and `join_sampling_session`: a sampler's client hears which of its samples are over."""

from __future__ import annotations

import json

import pytest

from tinker_actors.local.core import Hold, Limits
from tinker_actors.local.core.samples.completions import CLONE_RANGE


@pytest.fixture
def sampler(driver):
    return driver.sampler()


def asked(sampler, cursor=0, clone=0, **fields):
    target = {"type": "sampling_session", "sampling_session_id": sampler, "cloned_sampler_id": clone}
    return {"target": target, "prev_cursor": cursor, **fields}


def ask(driver, *arguments, **fields):
    return driver.raw("retrieve_futures", json.dumps(asked(*arguments, **fields)).encode())


def told(driver, *arguments, **fields):
    said = driver.good("retrieve_futures", asked(*arguments, **fields))
    return [(one["state"], one["request_id"]) for one in said["completions"]], said["cursor"]


def test_ends_are_told_in_their_order_and_each_cursor_once(driver, bodies, sampler):
    slow = driver.submit("asample", bodies.sample(sampler, 0, sampling_params={"max_tokens": 9, "stop": []}))
    quick = driver.submit("asample", bodies.sample(sampler, 1))
    driver.work()
    found, cursor = told(driver, sampler)
    assert found == [("finished", quick), ("finished", slow)]
    assert told(driver, sampler) == (found, cursor), "a lost answer is asked for again"
    assert told(driver, sampler, cursor, timeout=0) == ([], cursor)
    assert told(driver, sampler, timeout=0) == ([], 0), "what was seen is forgotten"
    later = driver.submit("asample", bodies.sample(sampler, 2))
    driver.work()
    assert told(driver, sampler, cursor) == ([("finished", later)], cursor + 1)


def test_the_size_is_that_of_the_result(driver, bodies, sampler):
    request_id = driver.submit("asample", bodies.sample(sampler))
    driver.work()
    (one,) = driver.good("retrieve_futures", asked(sampler))["completions"]
    assert one["response_payload_uncompressed_size"] == len(driver.poll(request_id).body)


def test_it_is_held_until_a_sample_ends(driver, bodies, sampler):
    hold = ask(driver, sampler)
    assert isinstance(hold, Hold)
    assert hold.deadline == driver.now + 30
    request_id = driver.submit("asample", bodies.sample(sampler))
    assert driver.core.resume(hold, driver.now) is None
    job = driver.core.next_job("sample")
    assert hold.request_id in driver.core.finish(job, job.run(), driver.now)
    assert json.loads(driver.core.resume(hold, driver.now).body)["completions"][0]["request_id"] == request_id


def test_after_the_time_it_is_answered_with_nothing(make_driver):
    driver = make_driver(Limits(hold_seconds=5))
    sampler = driver.sampler()
    for seconds, expected in ((None, 5), (2.5, 2.5), (1000, 5)):
        hold = ask(driver, sampler, 7, **({} if seconds is None else {"timeout": seconds}))
        assert hold.deadline == driver.now + expected
        assert driver.core.resume(hold, hold.deadline - 0.1) is None
        assert json.loads(driver.core.resume(hold, hold.deadline).body)["cursor"] == 7


def test_a_failed_and_a_cancelled_sample_are_told_as_failed(driver, bodies, sampler):
    request_id = driver.submit("asample", bodies.sample(sampler))
    driver.good("cancel_future", {"request_id": request_id})
    assert told(driver, sampler)[0] == [("failed", request_id)]


def test_clones_hear_of_their_own_samples(driver, bodies, sampler):
    counters = [
        driver.good("join_sampling_session", {"sampling_session_id": sampler, "type": "join_sampling_session"})
        for _ in range(2)
    ]
    assert [said["client_counter"] for said in counters] == [1, 2]
    assert counters[0]["type"] == "join_sampling_session"
    first = driver.submit("asample", bodies.sample(sampler, 5))
    second = driver.submit("asample", bodies.sample(sampler, 2 * CLONE_RANGE + 5))
    driver.work()
    assert told(driver, sampler)[0] == [("finished", first)]
    assert told(driver, sampler, 0, 2)[0] == [("finished", second)]
    assert told(driver, sampler, 0, 1, timeout=0)[0] == []


def test_a_fetched_result_is_dropped_and_nobody_elses(driver, bodies, sampler):
    other = driver.sampler()
    mine = driver.submit("asample", bodies.sample(sampler))
    theirs = driver.submit("asample", bodies.sample(other))
    waiting = driver.submit("asample", bodies.sample(sampler, 1, sampling_params={"max_tokens": 900, "stop": []}))
    for _ in range(2):
        job = driver.core.next_job("sample")
        driver.core.finish(job, job.run(), driver.now)
    before = driver.core.state.futures.result_bytes
    told(driver, sampler, 1, timeout=0, retrieved_request_ids=[mine, theirs, waiting, "r9-unknown"])
    assert driver.core.state.futures.get(mine) is None
    assert driver.core.state.futures.result_bytes < before
    assert driver.result(theirs)["type"] == "sample"
    driver.work()
    assert driver.result(waiting)["type"] == "sample"


def test_without_a_reader_the_list_does_not_outgrow_the_results(make_driver, bodies):
    driver = make_driver(Limits(future_records=3))
    sampler = driver.sampler()
    for number in range(10):
        driver.submit("asample", bodies.sample(sampler, number))
        driver.work()
    assert len(driver.core.state.sampler(sampler).completions_of(0)) == 3


def test_a_reader_hears_of_a_result_that_was_dropped_for_want_of_memory(make_driver, bodies):
    driver = make_driver(Limits(future_records=1))
    sampler = driver.sampler()
    told(driver, sampler, timeout=0)
    ids = [driver.submit("asample", bodies.sample(sampler, number)) for number in range(3)]
    driver.work()
    assert sorted(request_id for _, request_id in told(driver, sampler)[0]) == sorted(ids)


@pytest.mark.parametrize("path", ["retrieve_futures", "join_sampling_session"])
def test_a_sampler_that_is_not_there_is_404_and_one_of_a_lost_session_410(driver, path):
    session = driver.session()
    sampler = driver.sampler(session)
    hold = ask(driver, sampler)

    def status(which):
        body = asked(which) if path == "retrieve_futures" else {"sampling_session_id": which}
        return driver.call(path, body)[0]

    assert status("nobody") == 404
    driver.good(f"sessions/{session}/finish", {"reason": {"type": "success"}})
    assert status(sampler) == 410
    assert driver.core.resume(hold, driver.now).status == 410


@pytest.mark.parametrize("change", [{"timeout": -1}, {"target": {}}, {"prev_cursor": "x"}])
def test_nonsense_is_422(driver, sampler, change):
    assert driver.call("retrieve_futures", {**asked(sampler), **change})[0] == 422
    wrong = asked(sampler, 0, -1)
    assert driver.call("retrieve_futures", wrong)[0] == 422


def test_clients_are_told_that_they_may(driver):
    config = driver.good("client/config", {"sdk_version": "0.38.0"})
    assert config["sample_use_retrieve_futures"] is True
    assert config["sample_join_sampling_session"] is True
    assert driver.good("client/dynamic_config", {"sdk_version": "0.38.0"})["sample_cancel_enabled"] is True
