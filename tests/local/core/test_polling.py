"""Long polls: held, resumed, given up; results announced, kept, dropped; samples cancelled."""

from __future__ import annotations

import json

import pytest

from tinker_actors.local.core import Hold, Limits
from tinker_actors.local.store.memory import MemoryStore


@pytest.fixture
def pending(driver, bodies):
    return driver.submit("asample", bodies.sample(driver.sampler()))


def test_a_poll_is_held_until_the_future_is_decided(driver, pending):
    hold = driver.poll(pending)
    assert isinstance(hold, Hold)
    assert hold.deadline == driver.now + 30
    assert driver.core.resume(hold, driver.now + 29.9) is None
    job = driver.core.next_job("sample")
    assert driver.core.resume(hold, driver.now) is None
    assert driver.core.finish(job, job.run(), driver.now) == {pending}
    answer = driver.core.resume(hold, driver.now)
    assert json.loads(answer.body)["type"] == "sample"


def test_a_poll_held_to_its_deadline_is_told_to_try_again(driver, pending):
    hold = driver.poll(pending)
    answer = driver.core.resume(hold, hold.deadline)
    assert answer.status == 200
    assert json.loads(answer.body) == {"type": "try_again", "request_id": pending, "queue_state": "active"}


def test_a_finished_result_can_be_fetched_again(driver, pending):
    driver.work()
    assert driver.result(pending) == driver.result(pending)


def test_an_unknown_request_is_404(driver):
    assert driver.poll("nothing").status == 404
    assert driver.poll("r99-guess").status == 404


def test_a_large_result_is_announced_to_those_who_allow_it(make_driver, bodies):
    driver = make_driver(Limits(inline_result_bytes=50))
    request_id = driver.submit("asample", bodies.sample(driver.sampler()))
    driver.work()
    said = json.loads(driver.poll(request_id, metadata=True).body)
    whole = driver.poll(request_id, metadata=False)
    assert said == {
        "status": "complete_metadata",
        "request_id": request_id,
        "response_payload_size": len(whole.body),
    }
    assert json.loads(whole.body)["type"] == "sample"


def test_a_failure_passes_the_official_order_of_checks(driver, bodies):
    model = driver.model()
    failed = driver.submit("forward_backward", bodies.forward_backward(model, 1, bodies.datum([10**6])))
    driver.work()
    said = driver.result(failed)
    assert said["type"] != "try_again"
    assert "status" not in said
    assert isinstance(said["error"], str)
    assert said["category"] == "user"


def test_when_memory_is_short_the_results_fetched_first_go_first(make_driver, bodies):
    driver = make_driver()
    sampler = driver.sampler()
    size = len(driver.poll(drawn(driver, bodies, sampler, 0)).body)

    driver = make_driver(Limits(result_bytes=int(3.5 * size)), MemoryStore(futures=0))
    sampler = driver.sampler()
    first, second, third = (drawn(driver, bodies, sampler, number) for number in range(3))
    assert driver.poll(second).status == 200
    assert driver.poll(first).status == 200
    fourth = drawn(driver, bodies, sampler, 3)
    assert [driver.poll(one).status for one in (second, first, third, fourth)] == [410, 200, 200, 200]


def drawn(driver, bodies, sampler, number):
    request_id = driver.submit("asample", bodies.sample(sampler, number))
    driver.work()
    return request_id


def test_unfetched_results_go_oldest_first_and_the_newest_is_kept_whatever_its_size(make_driver, bodies):
    driver = make_driver(Limits(result_bytes=1), MemoryStore(futures=0))
    sampler = driver.sampler()
    old, new = (drawn(driver, bodies, sampler, number) for number in range(2))
    assert driver.poll(old).status == 410
    assert driver.poll(new).status == 200


def test_records_are_bounded_and_a_forgotten_sample_may_be_sent_anew(make_driver, bodies):
    driver = make_driver(Limits(future_records=2), MemoryStore(futures=0))
    sampler = driver.sampler()
    first = drawn(driver, bodies, sampler, 0)
    for number in (1, 2, 3):
        drawn(driver, bodies, sampler, number)
    assert driver.poll(first).status == 410
    assert driver.submit("asample", bodies.sample(sampler, 0)) != first


def test_a_forgotten_training_result_is_never_computed_again(make_driver, bodies):
    driver = make_driver(Limits(future_records=1), MemoryStore(futures=0))
    model = driver.model()
    body = bodies.forward_backward(model, 1)
    first = driver.submit("forward_backward", body)
    driver.work()
    driver.submit("forward_backward", bodies.forward_backward(model, 2))
    driver.work()
    assert driver.submit("forward_backward", body) == first
    assert driver.work() == 0
    assert driver.poll(first).status == 410


def test_a_cancelled_sample_is_not_drawn(driver, pending):
    assert driver.good("cancel_future", {"request_id": pending})["cancelled"] is True
    assert driver.core.take_decided() == {pending}
    assert driver.work() == 0
    said = driver.result(pending)
    assert said["category"] == "user"
    assert "cancelled" in said["error"]


def test_a_running_sample_is_told_to_stop_and_its_result_is_ignored(driver, bodies):
    sampler = driver.sampler()
    running, other = (driver.submit("asample", bodies.sample(sampler, number)) for number in range(2))
    job = driver.core.next_job("sample")
    driver.good("cancel_future", {"request_id": running})
    driver.core.finish(job, job.run(), driver.now)
    driver.work()
    assert "cancelled" in driver.result(running)["error"]
    assert driver.result(other)["type"] == "sample"


def test_a_cancelled_sample_leaves_the_batch_at_its_next_token(driver, bodies):
    sampler = driver.sampler()
    long = {"max_tokens": 1000, "stop": []}
    gone, other = (driver.submit("asample", bodies.sample(sampler, number, sampling_params=long)) for number in (0, 1))
    job = driver.core.next_job("sample")
    driver.core.finish(job, job.run(), driver.now)
    driver.good("cancel_future", {"request_id": gone})
    assert driver.core.state.sample_queue.drawing == 2
    job = driver.core.next_job("sample")
    assert driver.core.state.sample_queue.drawing == 1
    driver.core.finish(job, job.run(), driver.now)
    driver.work()
    assert len(driver.result(other)["sequences"][0]["tokens"]) == 1000


def test_cancelling_what_is_decided_changes_nothing(driver, pending):
    driver.work()
    before = driver.result(pending)
    assert driver.good("cancel_future", {"request_id": pending})["cancelled"] is False
    assert driver.result(pending) == before


def test_training_is_never_cancelled(driver, bodies):
    model = driver.model()
    request_id = driver.submit("forward_backward", bodies.forward_backward(model, 1))
    assert driver.call("cancel_future", {"request_id": request_id})[0] == 400
    driver.work()
    assert driver.result(request_id)["type"] == "forward_backward"


def test_cancelling_the_unknown_is_404(driver):
    assert driver.call("cancel_future", {"request_id": "x"})[0] == 404
