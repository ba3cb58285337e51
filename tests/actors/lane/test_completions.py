"""How a lane hears of finished samples over one connection per sampler, and what it does when it can't."""

from __future__ import annotations

import logging

import pytest

from tinker_actors import errors

from .lane_bench import LaneBench

CHANNEL = ("session:sample:0", 0)


def hearing(*names, **config):
    """Return a bench with these samples accepted and waited for on one channel."""
    bench = LaneBench(**config)
    for name in names:
        bench.sample(name, channel=CHANNEL)
    bench.settle()
    while bench.submits():
        bench.accept()
    return bench


def asked(bench):
    (sent,) = bench.peer.waiting("retrieve_futures")
    return sent.body


def results(bench):
    return {name for name, work in bench.works.items() if work.sink.result}


def test_one_request_waits_for_all_and_what_is_told_is_fetched_at_once():
    bench = hearing("a", "b", "c")
    assert bench.polled() == []
    target = {"type": "sampling_session", "sampling_session_id": CHANNEL[0], "cloned_sampler_id": 0}
    assert asked(bench) == {"target": target, "prev_cursor": 0, "retrieved_request_ids": []}
    bench.tell_completions("c", "a", cursor=2, size=700)
    fetches = bench.peer.waiting("retrieve_future")
    assert [sent.body for sent in fetches] == [
        {"request_id": "c", "allow_metadata_only": False},
        {"request_id": "a", "allow_metadata_only": False},
    ]
    assert asked(bench)["prev_cursor"] == 2
    bench.finish()
    assert results(bench) == {"a", "c"}
    bench.tell_completions("b", cursor=3)
    assert bench.peer.waiting("retrieve_future")[0].body == {"request_id": "b", "allow_metadata_only": True}


def test_what_was_told_to_be_over_is_asked_for_until_it_is_here_whatever_the_server_says_meanwhile():
    bench = hearing("a")
    bench.tell_completions("a", cursor=1)
    for _ in range(5):  # a completion is told once, so nothing would ever be heard of it again
        (fetch,) = bench.peer.waiting("retrieve_future")
        fetch.answer({"type": "try_again", "request_id": "a", "queue_state": "paused_capacity"})
        bench.wait(1.0)
    bench.finish()
    assert results(bench) == {"a"}


def test_two_samplers_and_two_clones_have_a_request_each():
    bench = LaneBench()
    for name, channel in (("a", ("x", 0)), ("b", ("x", 1)), ("c", ("y", 0)), ("d", ("x", 0)), ("e", None)):
        bench.sample(name, channel=channel)
    bench.settle()
    bench.accept()
    targets = [sent.body["target"] for sent in bench.peer.waiting("retrieve_futures")]
    assert [(target["sampling_session_id"], target["cloned_sampler_id"]) for target in targets] == [
        ("x", 0), ("x", 1), ("y", 0),
    ]  # fmt: skip
    assert bench.polled() == ["e"]


def test_results_are_acknowledged_when_they_are_here_until_an_answer_says_it_was_heard():
    bench = hearing("a", "b", "c")
    bench.tell_completions("b", "a", cursor=2)
    assert asked(bench)["retrieved_request_ids"] == []
    bench.finish()
    bench.peer.waiting("retrieve_futures")[0].answer({"detail": "busy"}, 503)
    bench.wait(30.0)
    assert asked(bench)["retrieved_request_ids"] == ["a", "b"]
    bench.peer.waiting("retrieve_futures")[0].breaks()
    bench.wait(60.0)
    assert asked(bench)["retrieved_request_ids"] == ["a", "b"]
    bench.tell_completions(cursor=2)
    assert asked(bench)["retrieved_request_ids"] == []


def test_who_is_told_of_before_its_submission_is_answered_is_fetched_then():
    bench = hearing("a")
    bench.sample("early", channel=CHANNEL)
    bench.settle()
    bench.tell_completions("early", cursor=1, size=5)
    assert bench.polled() == []
    bench.accept()
    assert bench.polled() == ["early"]
    bench.finish()
    assert results(bench) == {"early"}


def test_a_completion_told_twice_is_fetched_once():
    bench = hearing("a", "b")
    bench.tell_completions("a", cursor=1)
    bench.finish()
    bench.tell_completions("a", cursor=1)
    assert bench.polled() == []
    bench.wait(0.1)  # that was no news
    bench.tell_completions("a", "b", cursor=2)
    assert bench.polled() == ["b"]


def test_a_failed_sample_says_why_when_it_is_fetched():
    bench = hearing("a")
    bench.tell_completions("a", cursor=1, state="failed")
    (fetch,) = bench.peer.waiting("retrieve_future")
    fetch.answer({"error": "the prompt is too long", "category": "user"})
    bench.settle()
    assert isinstance(bench.works["a"].sink.error, errors.RequestFailedError)
    assert "the prompt is too long" in str(bench.works["a"].sink.error)


def test_it_stops_when_nobody_waits_acknowledges_once_and_goes_on_with_its_cursor():
    bench = hearing("a")
    bench.tell_completions("a", cursor=7)
    bench.finish()
    assert bench.peer.waiting("retrieve_futures") == []
    bench.wait(10.0)
    (sent,) = bench.peer.waiting("retrieve_futures")
    assert (sent.body["timeout"], sent.body["retrieved_request_ids"], sent.timeout) == (0, ["a"], 5.0)
    sent.answer({"completions": [], "cursor": 7})
    bench.wait(20.0)
    assert bench.peer.waiting("retrieve_futures") == []
    bench.sample("b", channel=CHANNEL)
    bench.settle()
    bench.accept()
    assert (asked(bench)["prev_cursor"], asked(bench)["retrieved_request_ids"]) == (7, [])


def test_an_acknowledgement_that_fails_is_not_repeated_for_ever():
    bench = hearing("a")
    bench.tell_completions("a", cursor=7)
    bench.finish()
    bench.wait(10.0)
    bench.peer.waiting("retrieve_futures")[0].answer({"detail": "no"}, 500)
    bench.wait(100.0)
    assert bench.peer.waiting("retrieve_futures") == []


@pytest.mark.parametrize("status", [404, 410, 501, 405, 403])
def test_a_server_that_does_not_tell_is_polled_for_each(status, caplog):
    bench = hearing("a", "b")
    with caplog.at_level(logging.WARNING):
        bench.peer.waiting("retrieve_futures")[0].answer({"detail": "no"}, status)
        bench.settle()
    assert "polled for one by one" in caplog.text
    assert bench.polled() == ["a", "b"]
    bench.not_yet("a")
    bench.wait(0.1)
    assert bench.polled() == ["b", "a"]
    bench.sample("c", channel=CHANNEL)
    bench.settle()
    bench.accept()
    assert bench.polled() == ["b", "a", "c"]
    bench.finish()
    assert results(bench) == {"a", "b", "c"}
    assert bench.peer.waiting("retrieve_futures") == []


def test_a_few_bad_requests_are_forgiven_and_a_series_is_not():
    bench = hearing("a")
    for _ in range(3):
        bench.peer.waiting("retrieve_futures")[0].answer(b"", 400)
        bench.wait(10.0)
        assert bench.polled() == []
    bench.tell_completions(cursor=1)
    for _ in range(4):
        bench.peer.waiting("retrieve_futures")[0].answer(b"", 400)
        bench.wait(10.0)
    assert bench.polled() == ["a"]


def test_an_unpaid_bill_pauses_five_seconds():
    bench = hearing("a")
    bench.peer.waiting("retrieve_futures")[0].answer({"detail": "pay"}, 402)
    bench.wait(4.9)
    assert bench.peer.waiting("retrieve_futures") == []
    bench.wait(0.2)
    assert len(bench.peer.waiting("retrieve_futures")) == 1


def test_who_is_cancelled_is_not_waited_for_and_its_completion_harms_nothing():
    bench = hearing("a", "b")
    bench.cancel("a")
    assert [sent.body["request_id"] for sent in bench.peer.waiting("cancel_future")] == ["a"]
    bench.tell_completions("a", "b", cursor=2)
    assert bench.polled() == ["b"]


def keep_company(bench, seconds):
    """Let time pass while a healthy server answers what it holds after 30 s."""
    for _ in range(int(seconds)):
        bench.wait(1.0)
        for sent in list(bench.peer.pending):
            if bench.now - sent.at < 30.0:
                continue
            if sent.endpoint == "retrieve_futures":
                sent.answer({"completions": [], "cursor": 0})
            else:
                sent.answer({"type": "try_again"})


def test_a_completion_that_was_lost_is_found_by_asking_directly():
    bench = hearing("a", "b")
    keep_company(bench, 118)
    assert bench.polled() == []
    bench.wait(10.0)
    assert bench.polled() == ["a", "b"]
    bench.finish("a")
    assert results(bench) == {"a"}
    keep_company(bench, 40)
    assert bench.polled() == []  # it is not finished, so it is heard of again


def test_what_is_told_while_it_is_asked_for_is_not_lost():
    bench = hearing("a")
    keep_company(bench, 119)
    bench.wait(10.0)
    assert bench.polled() == ["a"]
    bench.tell_completions("a", cursor=1, size=3)
    bench.not_yet()
    assert bench.peer.waiting("retrieve_future")[0].body == {"request_id": "a", "allow_metadata_only": False}


def test_samples_that_take_longer_than_the_liveness_limit_live_at_a_healthy_server():
    bench = hearing("a", liveness_limit=60.0)
    keep_company(bench, 400)
    assert not bench.works["a"].sink.over


def test_a_server_that_is_silent_about_a_sample_is_found_out():
    bench = hearing("a", liveness_limit=60.0)
    bench.wait(80.0)
    assert isinstance(bench.works["a"].sink.error, errors.StalledError)


def test_told_sizes_count_against_the_budget_of_bytes():
    bench = hearing("a", "b", "c", response_bytes=1000)
    bench.tell_completions("a", "b", "c", cursor=3, size=600)
    assert bench.polled() == ["a", "b"]
    bench.finish("a")
    assert bench.polled() == ["b", "c"]


def test_thousands_of_results_are_fetched_a_few_at_a_time():
    names = [f"s{number}" for number in range(1_000)]
    bench = hearing(*names)
    bench.tell_completions(*names, cursor=1)
    while bench.polled():
        assert len(bench.polled()) <= 128
        bench.finish()
    assert len(results(bench)) == 1_000


def test_channels_leave_connections_for_everything_else():
    bench = LaneBench(max_connections=16)
    for number in range(10):
        bench.sample(f"s{number}", channel=(f"sampler {number}", 0))
    bench.settle()
    bench.accept()
    assert len(bench.peer.waiting("retrieve_futures")) == 4
    assert len(bench.polled()) == 6


def test_the_successor_of_a_dead_lane_asks_first_and_hears_then():
    bench = hearing("a", "b")
    bench.tell_completions("a", cursor=1)
    bench.replace()
    bench.settle()
    assert bench.polled() == ["a", "b"]
    bench.finish("a")
    bench.not_yet("b")
    bench.wait(0.1)
    assert bench.polled() == []
    bench.tell_completions("b", cursor=2)
    bench.finish()
    assert results(bench) == {"a", "b"}


def test_a_server_that_tells_nothing_at_once_is_asked_once_a_second():
    bench = hearing("a")
    asked = []
    bench.peer.answer_at_once(
        "retrieve_futures", lambda sent: asked.append(sent.at) or {"completions": [], "cursor": 0}
    )
    bench.wait(10.0)
    assert len(asked) <= 14
    bench.peer.answer_at_once("retrieve_futures", None)
    bench.wait(1.0)
    bench.tell_completions("a", cursor=1)
    bench.finish()
    assert results(bench) == {"a"}


def test_strangers_are_no_news_for_ever():
    bench = hearing("a")
    names = (f"x{number}" for number in range(10**9))

    def strangers(sent):
        return {"completions": [{"request_id": next(names)} for _ in range(100)], "cursor": 0}

    bench.peer.answer_at_once("retrieve_futures", strangers)
    bench.wait(10.0)
    assert sum(sent.endpoint == "retrieve_futures" for sent in bench.peer.all) <= 10 + 14
