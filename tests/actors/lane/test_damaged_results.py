"""What a lane does with answers that claim to be the result and can't be read."""

from __future__ import annotations

import pytest

from tinker_actors.errors import APIResponseValidationError, OutcomeUnknownError

from .lane_bench import LaneBench

CHANNEL = ("sampler-1", 0)


@pytest.fixture
def bench():
    return LaneBench()


def accepted(bench, **facts):
    sample = bench.sample("a", **facts)
    bench.settle()
    bench.accept()
    return sample


def damage(bench):
    """Answer the poll that is out with half a result, and return its `Accept`."""
    (sent,) = bench.peer.waiting("retrieve_future")
    sent.answer(b'{"type":"sample"')
    bench.wait(60.0)
    return sent.headers["Accept"]


def test_it_is_asked_for_three_more_times_at_last_as_json(bench):
    sample = accepted(bench)
    either, plain = "application/x-protobuf, application/json", "application/json"
    assert [damage(bench) for _ in range(4)] == [either, either, plain, plain]
    assert isinstance(sample.error, APIResponseValidationError)
    assert sample.error.request_id == "a"


def test_a_result_that_can_be_read_in_the_end_is_the_result(bench):
    sample = accepted(bench)
    for _ in range(3):
        damage(bench)
    bench.finish()
    assert sample.result == {"type": "sample", "of": "a"}


def test_a_wait_between_two_damaged_answers_does_not_begin_the_count_anew(bench):
    sample = accepted(bench)
    for _ in range(3):
        damage(bench)
        bench.not_yet()
        bench.wait(5.0)
    damage(bench)
    assert isinstance(sample.error, APIResponseValidationError)


def test_a_failure_that_follows_a_result_leaves_the_outcome_unknown(bench):
    """A server that gives a result once, and then knows nothing of it."""
    sample = accepted(bench)
    damage(bench)
    (sent,) = bench.peer.waiting("retrieve_future")
    sent.answer({"error": "unknown request_id", "category": "User"})
    bench.settle()
    assert isinstance(sample.error, OutcomeUnknownError)
    assert "could not be read" in str(sample.error)
    assert "unknown request_id" in str(sample.error)


def test_only_a_result_that_was_read_is_acknowledged(bench):
    accepted(bench, channel=CHANNEL)
    bench.tell_completions("a", cursor=1)
    damage(bench)
    assert all(
        sent.body["retrieved_request_ids"] == [] for sent in bench.peer.all if sent.endpoint == "retrieve_futures"
    )
    bench.finish()
    bench.wait(10.0)
    (sent,) = bench.peer.waiting("retrieve_futures")
    assert sent.body["retrieved_request_ids"] == ["a"]
