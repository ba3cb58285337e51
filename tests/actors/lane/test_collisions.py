"""A lane among closing connections and mixed-up answers: nothing that must not be is sent twice or believed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tinker_actors.actors.lane.collisions import Collisions
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


def collide(bench, names="ab"):
    """Have samples accepted under one id; return them."""
    samples = {}
    for name in names:
        samples[name] = bench.sample(name)
        samples[name].renews = True
        bench.settle()
        submissions(bench)[-1].answer({"request_id": "r-1"})
        bench.settle()
    return samples


def test_of_an_id_that_is_given_twice_neither_sample_takes_a_result():
    bench = LaneBench()
    samples = collide(bench)

    assert bench.polled() == []
    assert [sent.body["name"] for sent in bench.peer.rejected] == ["b"]
    bench.wait(60)
    assert sorted(bench.submits()) == ["a", "b"]
    bench.accept()
    bench.finish()
    assert {name: sample.result["of"] for name, sample in samples.items()} == {"a": "a", "b": "b"}


def test_the_first_is_submitted_as_a_new_request_and_the_second_as_the_same_and_then_as_a_new_one():
    bench = LaneBench()
    collide(bench)
    bench.wait(60)
    for sent in submissions(bench):
        sent.answer({"request_id": "r-1"})
    bench.wait(60)
    keys = {name: [] for name in "ab"}
    for sent in bench.peer.all:
        if sent.endpoint == "asample":
            keys[sent.body["name"]].append(sent.headers["X-Idempotency-Key"])

    assert bench.polled() == []  # who asked before it was given twice never has it
    assert len(set(keys["a"][:2])) == 2
    assert [len(set(keys["b"][:count])) for count in (2, 3)] == [1, 2]


def test_a_result_that_was_asked_for_under_the_id_is_dropped():
    bench = LaneBench()
    first = bench.sample("a")
    first.renews = True
    bench.settle()
    submissions(bench)[0].answer({"request_id": "r-1"})
    bench.settle()
    (poll,) = bench.peer.waiting("retrieve_future")
    bench.sample("b")
    bench.settle()
    submissions(bench)[0].answer({"request_id": "r-1"})
    bench.settle()

    assert poll in bench.peer.given_up
    assert not first.over


def test_a_sample_heard_of_under_the_id_is_not_fetched():
    bench = LaneBench()
    channel = ("session-1:sample:0", 0)
    for name in "ab":
        bench.sample(name, channel=channel).renews = True
        bench.settle()
        submissions(bench)[-1].answer({"request_id": "r-1"})
        bench.settle()
    bench.tell_completions("r-1", cursor=1)

    assert bench.polled() == []


def test_a_server_that_has_one_id_for_all_has_nobody_take_another_s_result():
    bench = LaneBench()
    samples = [bench.sample(name) for name in "abc"]
    for sample in samples:
        sample.renews = True
    bench.settle()
    bench.peer.answer_at_once("asample", lambda sent: {"request_id": "r-1"})
    for _ in range(50):
        bench.wait(10)
        bench.finish()

    assert all(isinstance(sample.error, APIResponseValidationError) for sample in samples)


def test_a_result_waits_until_no_submission_is_out_that_could_turn_out_to_have_its_id():
    bench = LaneBench()
    collide(bench)
    bench.wait(60)
    bench.accept()  # the server is doubted now
    third, fourth = bench.sample("c"), bench.sample("d")
    bench.settle()
    bench.accept("c")
    bench.finish("c")
    assert not third.over
    fifth = bench.sample("e")  # sent when the result was here already
    bench.settle()
    bench.accept("d")
    assert third.result["of"] == "c"
    bench.finish("d")
    assert not fourth.over
    bench.accept("e")
    assert fourth.result["of"] == "d"
    assert not fifth.over


def test_at_first_a_sample_s_result_waits_as_well_but_only_for_a_moment():
    bench = LaneBench()
    first, second = bench.sample("a"), bench.sample("b")
    bench.settle()
    bench.accept("a")
    bench.finish("a")
    assert not first.over
    bench.wait(0.3)
    assert first.result["of"] == "a"
    assert not second.over


def test_at_first_too_it_is_dropped_when_its_id_is_given_again():
    bench = LaneBench()
    first, second = bench.sample("a"), bench.sample("b")
    first.renews = True
    bench.settle()
    bench.accept("a")
    bench.finish("a")  # what the server keeps under "a" is the result of "b" by now
    submissions(bench)[0].answer({"request_id": "a"})
    bench.wait(0.3)
    assert not first.over
    bench.wait(60)
    for sent in submissions(bench):
        sent.answer({"request_id": f"{sent.body['name']}-2"})
    bench.settle()
    bench.finish()
    assert (first.result["of"], second.result["of"]) == ("a-2", "b-2")


def test_a_result_that_waits_is_dropped_when_its_id_is_given_again():
    bench = LaneBench()
    collide(bench)
    bench.wait(60)
    bench.accept()
    third, _ = bench.sample("c"), bench.sample("d")
    third.renews = True
    bench.settle()
    bench.accept("c")
    bench.finish("c")
    submissions(bench)[0].answer({"request_id": "c"})
    bench.settle()
    assert not third.over
    bench.wait(60)
    next(sent for sent in submissions(bench) if sent.body["name"] == "c").answer({"request_id": "c-2"})
    bench.settle()
    next(sent for sent in submissions(bench) if sent.body["name"] == "d").answer({"request_id": "d-2"})
    bench.settle()
    bench.finish()
    assert third.result["of"] == "c-2"


def test_a_result_that_waits_gives_its_place_to_what_it_waits_for():
    bench = LaneBench()
    collide(bench)
    bench.wait(60)
    bench.accept("a")
    bench.finish("a")
    assert bench.works["a"].state != "done"
    assert not bench.works["a"].at_server
    bench.accept("b")
    assert bench.works["a"].state == "done"


def test_a_result_that_waits_and_is_given_up_is_forgotten():
    bench = LaneBench()
    samples = collide(bench)
    bench.wait(60)
    bench.accept("a")
    bench.finish("a")
    bench.cancel("a")
    bench.accept("b")
    assert not samples["a"].over
    assert not bench.lane._desk.collisions.held


def test_a_server_is_not_trusted_while_it_has_not_answered_what_was_out_when_trust_was_due():
    bench = LaneBench()
    collide(bench)
    bench.wait(60)
    bench.accept()
    bench.finish()
    third, _ = bench.sample("c"), bench.sample("d")
    third.renews = True
    bench.settle()
    bench.accept("c")
    for number in range(100):  # many different ids
        bench.sample(f"n{number}")
        bench.settle()
        bench.accept(f"n{number}")
    bench.finish("c")
    assert not third.over
    submissions(bench)[0].answer({"request_id": "c"})  # what the server keeps there is the result of "d"
    bench.wait(60)
    next(sent for sent in submissions(bench) if sent.body["name"] == "c").answer({"request_id": "c-2"})
    bench.settle()
    bench.finish("c-2")
    next(sent for sent in submissions(bench) if sent.body["name"] == "d").answer({"request_id": "d-2"})
    bench.settle()
    assert third.result["of"] == "c-2"


def train(bench, name):
    """Have a training operation carried, which the server knows by its number when it comes again."""
    return bench.sample(name, request_type="ForwardBackward")


def test_a_training_operation_keeps_its_id_when_the_second_hears_of_another():
    bench = LaneBench()
    first, second = train(bench, "a"), train(bench, "b")
    bench.settle()
    for sent in submissions(bench):
        sent.answer({"request_id": "r-1"})
    bench.settle()
    bench.finish("r-1")
    assert not first.over  # it may be the second's
    bench.wait(60)
    assert bench.submits() == ["b"]
    bench.accept("b")
    assert first.result["of"] == "r-1"
    bench.finish("b")
    assert second.result["of"] == "b"


def test_what_became_of_two_training_operations_with_one_id_is_not_known():
    bench = LaneBench()
    operations = train(bench, "a"), train(bench, "b")
    bench.settle()
    for sent in submissions(bench):
        sent.answer({"request_id": "r-1"})
    bench.settle()
    bench.finish("r-1")
    bench.wait(60)
    submissions(bench)[0].answer({"request_id": "r-1"})
    bench.settle()
    assert all(isinstance(operation.error, OutcomeUnknownError) for operation in operations)


def test_an_id_that_ended_while_the_sample_was_on_its_way_is_not_believed_either():
    bench = LaneBench()
    first, second = bench.sample("a"), bench.sample("b")
    bench.settle()
    bench.accept("a")
    bench.wait(1)
    bench.finish("a")
    bench.wait(1)
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


def test_callers_may_add_to_the_table_while_it_is_looked_through():
    table = {}

    class MeanwhileAnother:
        id = 1

        @property
        def what(self):
            table[len(table) + 1] = self
            return "something else"

    table[1] = MeanwhileAnother()
    assert Collisions(SimpleNamespace(table=table))._out() == set()
    assert len(table) == 2
