"""What ends on the lane because its time is over, whatever is under way for it just then."""

from __future__ import annotations

import pytest

from tinker_actors.actors.lane.options import Terms
from tinker_actors.actors.lane.work import Call
from tinker_actors.errors import APIConnectionError, APIStatusError, DeadlineExceededError, StalledError
from tinker_actors.protocol.endpoints import ENDPOINTS
from tinker_actors.runtime.actor import tell

from .lane_bench import LaneBench

CREATION = Terms(timeout=5.0, until_accepted=True)


class Asked:
    """A call on a bench, with 5 s of patience; keeps what came of it, and when."""

    def __init__(self, bench, patience=5.0):
        self.value = self.error = self.at = None
        self.bench, self.begun = bench, bench.now
        call = Call("client_config", ENDPOINTS["client_config"], b"{}", self.done, self.failed, patience=patience)
        bench.settings.table[call.id] = call
        tell(bench.ref, call)
        bench.settle()

    def done(self, outcome):
        self.value, self.at = outcome, self.bench.now - self.begun

    def failed(self, error):
        self.error, self.at = error, self.bench.now - self.begun


def pending(bench):
    return bench.peer.waiting("config") + bench.peer.waiting("asample")


def fail_all(bench, until, how):
    """Have every attempt fail at once until a condition holds; look at it often."""
    for _ in range(10_000):
        if until():
            return
        for sent in pending(bench):
            how(sent)
        bench.wait(0.01)


HOW = pytest.mark.parametrize(
    ("how", "kind"),
    [
        (lambda sent: sent.breaks(), APIConnectionError),
        (lambda sent: sent.answer({"detail": "busy"}, 503), APIStatusError),
        (lambda sent: sent.answer({"detail": "busy"}, 429, retry_after="60"), APIStatusError),
    ],
    ids=["cut", "503", "asked to wait longer"],
)


@HOW
@pytest.mark.parametrize("seed", range(5))
def test_a_call_that_fails_again_and_again_ends_when_its_time_is_over(how, kind, seed):
    bench = LaneBench(creation_timeout=5.0)
    for _ in range(seed):
        bench.lane._desk.random.random()
    asked = Asked(bench)
    fail_all(bench, lambda: asked.error is not None, how)
    assert isinstance(asked.error, kind)
    assert asked.at == pytest.approx(5.0, abs=0.1)
    assert bench.settings.table == {}


def test_an_attempt_that_is_under_way_is_given_up_when_the_time_is_over():
    bench = LaneBench()
    asked = Asked(bench)
    bench.wait(4.9)
    assert asked.error is None
    bench.wait(0.2)
    assert isinstance(asked.error, DeadlineExceededError)
    assert pending(bench) == []
    assert len(bench.peer.given_up) == 1


def test_a_call_that_is_answered_in_time_leaves_no_timer():
    bench = LaneBench()
    before = len(bench.runtime.timers)
    asked = Asked(bench)
    pending(bench)[0].answer({})
    bench.settle()
    assert asked.value is not None
    assert len(bench.runtime.timers) == before


def test_a_successor_keeps_the_time():
    bench = LaneBench()
    asked = Asked(bench)
    bench.wait(4.0)
    bench.replace()
    bench.wait(0.9)
    assert asked.error is None
    bench.wait(0.2)
    assert isinstance(asked.error, DeadlineExceededError)


def test_time_in_which_the_lane_stood_still_is_not_counted():
    bench = LaneBench(liveness_limit=50.0)
    asked, sample = Asked(bench, 30.0), bench.sample("s", Terms(timeout=30.0, until_accepted=True))
    bench.settle()
    bench.runtime.clock.advance_to(bench.now + 3600.0)
    bench.wait(19.0)
    assert asked.error is None
    assert not sample.over
    bench.wait(15.0)
    assert isinstance(asked.error, DeadlineExceededError)
    assert isinstance(sample.error, DeadlineExceededError)


@HOW
def test_a_creation_that_fails_again_and_again_ends_when_its_time_is_over(how, kind):
    bench = LaneBench()
    begun, sample = bench.now, bench.sample("s", CREATION)
    fail_all(bench, lambda: sample.over, how)
    assert bench.now - begun == pytest.approx(5.0, abs=0.1)
    assert isinstance(sample.error, kind | DeadlineExceededError)  # a 429 is no failure of a sample


def test_a_creation_under_way_ends_when_its_time_is_over_and_one_that_was_accepted_goes_on():
    bench = LaneBench()
    sample, accepted = bench.sample("s", CREATION), bench.sample("accepted", CREATION)
    bench.settle()
    bench.accept("accepted")
    bench.wait(5.1)
    assert isinstance(sample.error, DeadlineExceededError)
    assert not accepted.over
    bench.finish()
    bench.wait(1.0)
    assert accepted.result


def test_a_result_that_is_said_to_be_there_again_and_again_is_no_sign_of_life():
    bench = LaneBench(liveness_limit=20.0)
    begun, sample = bench.now, bench.sample("s")
    bench.settle()
    bench.accept()
    said = {"status": "complete_metadata", "response_payload_size": 5}
    bench.peer.answer_at_once("retrieve_future", lambda _: said)
    while not sample.over and bench.now < begun + 100.0:
        bench.wait(1.0)
    assert isinstance(sample.error, StalledError)
    assert 20.0 <= bench.now - begun < 25.0
    assert bench.works["s"].tracker.polls < 30


def test_not_yet_is_a_sign_of_life_however_often_it_is_said():
    bench = LaneBench(liveness_limit=20.0)
    sample = bench.sample("s")
    bench.settle()
    bench.accept()
    bench.peer.answer_at_once("retrieve_future", lambda _: {"type": "try_again"})
    bench.wait(100.0)
    assert not sample.over
