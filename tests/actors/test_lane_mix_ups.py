"""A lane among closing connections and mixed-up answers: nothing that must not be is sent twice or believed."""

from __future__ import annotations

import pytest

from tinker_actors.actors.messages import Suspicion, Verdict
from tinker_actors.errors import APIResponseValidationError, OutcomeUnknownError
from tinker_actors.runtime.actor import RuntimeActor, tell

from .lane_bench import LaneBench


class WellSession(RuntimeActor):
    """A session that is well whenever it is asked."""

    def receive(self, message):
        assert isinstance(message, Suspicion)
        tell(message.reply_to, Verdict(message.item_id, alive=True))


def submissions(bench):
    return bench.peer.waiting("asample")


def test_what_must_not_be_sent_twice_is_marked():
    bench = LaneBench()
    bench.sample("a", resend=False)
    bench.sample("b")
    bench.settle()

    assert {sent.body["name"]: sent.once for sent in submissions(bench)} == {"a": True, "b": False}


@pytest.mark.parametrize("status", [408, 425])
def test_what_was_not_received_is_sent_again_in_any_case(status):
    bench = LaneBench()
    sample = bench.sample("a", resend=False)
    bench.settle()
    submissions(bench)[0].answer({"detail": "not received"}, status)
    bench.wait(60)
    bench.accept()
    bench.finish()

    assert sample.result == {"type": "sample", "of": "a"}


def test_what_may_have_been_received_is_not():
    bench = LaneBench()
    sample = bench.sample("a", resend=False)
    bench.settle()
    submissions(bench)[0].answer({"detail": "oh"}, 500)
    bench.wait(60)

    assert isinstance(sample.error, OutcomeUnknownError)


def test_an_id_that_an_unfinished_sample_has_is_not_believed_and_asked_for_again():
    bench = LaneBench()
    samples = [bench.sample(name) for name in "ab"]
    bench.settle()
    first, second = submissions(bench)
    first.answer({"request_id": "r-1"})
    second.answer({"request_id": "r-1"})
    bench.settle()

    assert bench.peer.rejected == [second]
    assert bench.polled() == ["r-1"]
    bench.wait(60)
    submissions(bench)[0].answer({"request_id": "r-2"})
    bench.settle()
    bench.finish()
    assert [sample.result["of"] for sample in samples] == ["r-1", "r-2"]


def test_a_server_that_has_one_id_for_all_fails_all_but_one():
    bench = LaneBench()
    samples = [bench.sample(name) for name in "abc"]
    bench.settle()
    bench.peer.answer_at_once("asample", lambda sent: {"request_id": "r-1"})
    for _ in range(20):
        bench.wait(10)
        bench.finish()

    assert sum(sample.result is not None for sample in samples) == 1
    assert sum(isinstance(sample.error, APIResponseValidationError) for sample in samples) == 2


def test_an_id_that_ended_while_the_sample_was_on_its_way_is_not_believed_either():
    bench = LaneBench()
    first, second = bench.sample("a"), bench.sample("b")
    bench.settle()
    bench.accept("a")
    bench.wait(1)
    bench.finish("a")
    submissions(bench)[0].answer({"request_id": "a"})
    bench.settle()

    assert first.result == {"type": "sample", "of": "a"}
    assert [sent.body["name"] for sent in bench.peer.rejected] == ["b"]
    assert not second.over


@pytest.mark.parametrize("end", ["finished", "cancelled", "forgotten"])
def test_an_id_is_free_again_when_its_operation_has_ended(end):
    bench = LaneBench()
    session = WellSession(bench.runtime)
    bench.session.ref = session.actor_ref
    bench.runtime.run(session)
    first = bench.sample("a")
    first.renews = True
    bench.settle()
    bench.accept()
    if end == "finished":
        bench.finish()
    elif end == "cancelled":
        bench.cancel("a")
    else:
        bench.peer.waiting("retrieve_future")[0].answer({"detail": "gone"}, 410)
        bench.wait(60)
        bench.accept()
        assert bench.polled() == ["a"]
        return
    second = bench.sample("a")
    bench.settle()
    bench.accept()
    bench.finish()

    assert second.result == {"type": "sample", "of": "a"}


def test_a_successor_knows_the_ids_that_are_taken():
    bench = LaneBench()
    bench.sample("a")
    bench.settle()
    bench.accept()
    bench.replace()
    bench.sample("b")
    bench.settle()
    submissions(bench)[0].answer({"request_id": "a"})
    bench.settle()

    assert [sent.body["name"] for sent in bench.peer.rejected] == ["b"]


def test_an_answer_that_can_not_be_read_ends_what_it_came_on():
    bench = LaneBench()
    bench.sample("a")
    bench.settle()
    (sent,) = submissions(bench)
    sent.answer({"of": "another"})
    bench.wait(60)
    bench.accept()
    (poll,) = bench.peer.waiting("retrieve_future")
    poll.answer(b"nonsense")
    bench.settle()

    assert bench.peer.rejected == [sent, poll]
