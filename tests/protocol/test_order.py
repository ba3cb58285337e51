"""The order of a model's operations: every way in which a failure can meet what was called before and after it."""

from __future__ import annotations

import functools
import itertools
from typing import get_args

import pytest

from tinker_actors.errors import PrecedingOperationFailed, RequestFailedError, StepTaintedError
from tinker_actors.protocol.consequences import Left, applied_behind, preceded, tainted
from tinker_actors.protocol.order import STEP_ENDS, Order, kind_of, verdict
from tinker_actors.protocol.requests.operations import Operation
from tinker_actors.types.failures import EVERY

OPERATIONS = {
    "grad": Operation("forward_backward", (), gradient=True),
    "step": Operation("optim_step", (), step=True),
    "save": Operation("save_state", ()),
    "load": Operation("load_state", (), restores=True),
}
ERROR = RequestFailedError("the cause")

# ---------------------------------------------------------------- the tables

FACTS = ("ignorant", "restoring", "spoiled", "unsettled", "stranded", "discards")


@pytest.mark.parametrize("kind", ["gradient", "step", "restore", "other"])
@pytest.mark.parametrize("facts", list(itertools.product([False, True], repeat=len(FACTS))))
def test_the_verdict_for_each_operation_in_each_situation(kind, facts):
    given = dict(zip(FACTS, facts, strict=True))
    found = verdict(kind, **given)
    if given["ignorant"]:
        assert found == "ignorant", "whatever it is"
    elif given["restoring"]:
        assert found == "wait", "nobody knows on which weights it would be done"
    elif kind in ("restore", "other"):
        assert found == "send", "one must be able to save and to restore"
    elif not (given["spoiled"] or given["unsettled"] or given["stranded"]):
        assert found == "send", "what the caller was told of does not stop him"
    elif given["spoiled"]:
        assert found == "tainted"
    elif given["unsettled"]:
        assert found == "wait"
    else:
        assert found == ("discard" if given["discards"] else "tainted")


def test_the_kinds():
    assert [kind_of(operation) for operation in OPERATIONS.values()] == ["gradient", "step", "other", "restore"]


def test_only_a_step_in_ignorance_that_may_have_been_applied_spoils():
    spoils = {case for case, effect in STEP_ENDS.items() if effect == "spoiled"}
    assert spoils == {(True, "applied"), (True, "unknown")}
    assert STEP_ENDS[True, "refused"] == STEP_ENDS[False, "applied"] == "nothing"


# ---------------------------------------------------------------- stories


class Play:
    """Calls operations and lets them fare as a story says, in words.

    A name calls an operation, which is admitted at once: `grad=send`. `call:step` only calls it, and `turn=ignorant`
    admits what was called first. A number names an operation by its place: `fails:2`, `ends:2`, `stays:2`, `told:2`.
    """

    def __init__(self, *, discards, stops=True):
        self.order = Order(stops=stops, discards=discards)
        self.called = {}
        self.queue = []

    def call(self, name):
        place = self.order.call()
        self.called[place] = OPERATIONS[name]
        self.queue.append(place)

    def turn(self, expected):
        place = self.queue[0]
        found, error = self.order.admit(self.called[place], place)
        assert found == (expected or "send"), f"{self.called[place].name} at {place}: {found}"
        assert (error is None) == (found in ("send", "wait", "discard"))
        if found == "ignorant":
            assert isinstance(error, PrecedingOperationFailed)
        if found == "tainted":
            assert isinstance(error, StepTaintedError)
        if found not in ("wait", "discard"):
            self.queue.pop(0)

    def say(self, word):
        word, _, expected = word.partition("=")
        name, _, argument = word.partition(":")
        if name in OPERATIONS:
            self.call(name)
            self.turn(expected)
        elif name == "call":
            self.call(argument)
        elif name == "turn":
            self.turn(expected)
        else:
            getattr(self, name)(*([int(argument)] if argument else []))

    def begins_to_fail(self, place):
        numbers = range(place, place + 1)
        self.order.failed(self.called[place], place, ERROR, cause=place, numbers=numbers)

    def fails(self, place):
        """Fail for good; of a gradient nothing is on the server."""
        self.begins_to_fail(place)
        if self.called[place].gradient:
            self.gone(place)

    def stays(self, place):
        self.begins_to_fail(place)
        self.order.gradient_ended(place, ERROR, stayed=True)

    def gone(self, place):
        self.order.gradient_ended(place, ERROR, stayed=False)

    def _ended(self, place, how):
        self.order.step_ended(place, how)
        self.order.ended(place)

    applied = functools.partialmethod(_ended, how="applied")
    refused = functools.partialmethod(_ended, how="refused")
    failed = functools.partialmethod(_ended, how="failed")
    unknown = functools.partialmethod(_ended, how="unknown")

    def loaded(self, place):
        self.order.restored(place)
        self.order.ended(place)

    def load_failed(self, place):
        self.fails(place)
        self.order.ended(place)

    def told(self, place):
        self.order.told(place)

    def over(self, *places):
        for place in places or list(self.order._in_flight):
            self.order.ended(place)

    def acknowledged(self):
        self.order.acknowledge()

    def discarded(self):
        self.order.discarded(None)

    def tell(self, story):
        for word in story.split():
            self.say(word)


STORIES = [
    ("nothing fails", "grad step grad grad step save load", "both", "clean"),
    # Refused whole, its step not called yet.
    (
        "whatever was called before it was told fails",
        "grad fails:1 grad=ignorant save=ignorant load=ignorant",
        "both",
        "failed",
    ),
    (
        "also what was called and not sent",
        "grad call:grad call:save fails:1 turn=ignorant turn=ignorant",
        "both",
        "failed",
    ),
    ("what is called afterwards is sent", "grad fails:1 told:1 save grad step", "both", "clean"),
    (
        "what was called in between fails all the same",
        "grad fails:1 call:grad told:1 turn=ignorant grad step",
        "both",
        "clean",
    ),
    ("earlier gradients count", "grad grad fails:2 told:2 step applied:3 grad step", "both", "clean"),
    ("a step of which nothing is left is no step less", "grad fails:1 told:1 step grad step", "both", "clean"),
    # Refused whole, its step called.
    ("nothing stayed", "grad fails:1 step=ignorant told:1 grad step", "both", "clean"),
    ("gradients stayed", "grad grad fails:2 step=ignorant told:2 grad=discard", "discards", "clean"),
    (
        "gradients stayed",
        "grad grad fails:2 step=ignorant told:2 grad=tainted step=tainted save load",
        "applies",
        "tainted",
    ),
    (
        "they are discarded once",
        "grad grad fails:2 step=ignorant told:2 grad=discard call:step turn=wait discarded turn turn",
        "discards",
        "clean",
    ),
    (
        "an acknowledgement tells of all",
        "grad grad fails:2 step=ignorant over acknowledged grad=discard",
        "discards",
        "clean",
    ),
    (
        "an acknowledgement tells of all",
        "grad grad fails:2 step=ignorant over acknowledged grad step",
        "applies",
        "clean",
    ),
    (
        "what was acknowledged stays on the server",
        "grad grad fails:2 step=ignorant over acknowledged grad fails:4 step=ignorant told:4 grad=tainted",
        "applies",
        "tainted",
    ),
    # Acknowledged before it failed.
    (
        "what is called afterwards is not ignorant of it",
        "grad call:step acknowledged call:save fails:1 turn=ignorant turn save over grad step",
        "both",
        "clean",
    ),
    (
        "what was called behind the acknowledgement and fails is another thing",
        "grad acknowledged fails:1 over grad fails:2 save=ignorant told:2 save",
        "both",
        "clean",
    ),
    (
        "what is to build on it waits until it is known, and what saves does not",
        "grad acknowledged save call:grad turn=wait over:1 turn step",
        "both",
        "clean",
    ),
    (
        "what can't be discarded counts",
        "grad grad call:step acknowledged fails:2 turn=ignorant over grad step",
        "applies",
        "clean",
    ),
    (
        "what can be discarded is discarded",
        "grad grad call:step acknowledged fails:2 turn=ignorant over grad=discard",
        "discards",
        "clean",
    ),
    ("a part that stays counts", "grad acknowledged stays:1 over grad step", "applies", "clean"),
    ("a step that was applied", "grad step acknowledged fails:1 applied:2 over grad step", "both", "clean"),
    ("a load", "load acknowledged call:save load_failed:1 turn grad step", "both", "clean"),
    ("a restore helps", "grad grad fails:2 step=ignorant told:2 load loaded:4 grad step", "both", "clean"),
    (
        "gradients of earlier steps don't count",
        "grad grad step applied:3 grad fails:4 step=ignorant told:4 grad",
        "both",
        "clean",
    ),
    # In part.
    ("a part stays", "grad stays:1 told:1 grad=tainted save", "applies", "tainted"),
    ("a part stays", "grad stays:1 told:1 save grad=discard", "discards", "clean"),
    ("nobody knows yet whether", "grad begins_to_fail:1 told:1 call:grad turn=wait gone:1 turn", "both", "clean"),
    ("nobody knows yet whether", "grad begins_to_fail:1 told:1 call:save turn", "both", "clean"),
    (
        "a step that is kept back before that is known",
        "grad begins_to_fail:1 step=ignorant gone:1 told:1 grad step",
        "both",
        "clean",
    ),
    # The step was sent already.
    ("the server refused it", "grad step fails:1 grad=ignorant refused:2 told:1 grad step", "both", "clean"),
    ("what it left is not known yet", "grad step fails:1 told:1 call:grad turn=wait refused:2 turn", "both", "clean"),
    ("saving does not wait for that", "grad step fails:1 told:1 save", "both", "clean"),
    (
        "it was applied",
        "grad grad step fails:2 applied:3 told:2 grad=tainted step=tainted over save acknowledged grad",
        "both",
        "clean",
    ),
    ("it was applied", "grad grad step fails:2 applied:3 told:2 load loaded:4 grad step", "both", "clean"),
    ("it was applied with what stayed", "grad step stays:1 applied:2 told:1 grad=tainted", "both", "tainted"),
    ("it had nothing to apply", "grad step fails:1 applied:2 told:1 grad step", "both", "clean"),
    (
        "it had nothing to apply",
        "grad step grad step fails:1 fails:3 applied:2 applied:4 told:1 told:3 step",
        "both",
        "clean",
    ),
    (
        "the next one applied its own",
        "grad step grad step fails:1 applied:2 applied:4 told:1 step=tainted",
        "both",
        "tainted",
    ),
    (
        "it failed, and its gradients stayed",
        "grad grad step fails:2 failed:3 told:2 grad=tainted",
        "applies",
        "tainted",
    ),
    ("it failed, and its gradients stayed", "grad grad step fails:2 failed:3 told:2 grad=discard", "discards", "clean"),
    ("it failed, and nothing stayed", "grad step fails:1 failed:2 told:1 grad step", "both", "clean"),
    ("nobody knows what became of it", "grad grad step fails:2 unknown:3 told:2 grad=tainted", "both", "tainted"),
    ("nobody knows, and it had nothing to apply", "grad step fails:1 unknown:2 told:1 grad step", "both", "clean"),
    # What else others build on.
    ("a step that fails", "grad step fails:2 grad=ignorant failed:2 told:2 grad step", "both", "clean"),
    (
        "a step behind one that failed",
        "grad step fails:2 failed:2 step=ignorant told:2 grad=tainted",
        "applies",
        "tainted",
    ),
    ("a load that fails", "load load_failed:1 grad=ignorant step=ignorant told:1 grad step", "both", "clean"),
    (
        "what was called behind a load that failed",
        "load call:save call:grad load_failed:1 turn=ignorant turn=ignorant told:1 save grad",
        "both",
        "clean",
    ),
    ("behind a load", "load call:save turn=wait loaded:1 turn grad step", "applies", "clean"),
    ("behind a load", "load save grad step loaded:1", "discards", "clean"),
    ("behind two loads", "load loaded:1 load call:load turn=wait loaded:2 turn", "applies", "clean"),
    ("a step behind a load that failed", "load grad step fails:1 refused:3 told:1 grad", "discards", "clean"),
    ("nobody builds on a save", "save fails:1 grad step", "both", "clean"),
    # Restoring.
    ("it excuses what failed before it", "grad load fails:1 loaded:2 grad step", "both", "clean"),
    (
        "it does not excuse what failed behind it",
        "load grad fails:2 loaded:1 grad=ignorant told:2 grad",
        "discards",
        "clean",
    ),
    (
        "one that was sent before a failure clears what it left",
        "grad grad load stays:2 loaded:3 grad step",
        "both",
        "clean",
    ),
    # Several failures.
    (
        "to be told of one is not to be told of another",
        "grad grad fails:1 fails:2 told:1 grad=ignorant told:2 grad",
        "both",
        "clean",
    ),
]


@pytest.mark.parametrize(
    ("story", "discards", "state"),
    [
        pytest.param(story, discards, state, id=f"{title} ({'discards' if discards else 'applies'})")
        for title, story, which, state in STORIES
        for discards in {"both": [True, False], "discards": [True], "applies": [False]}[which]
    ],
)
def test_the_stories(story, discards, state):
    play = Play(discards=discards)
    play.tell(story)
    assert play.order.state == state


@pytest.mark.parametrize("discards", [True, False])
def test_who_goes_on_whatever_fails_is_never_stopped(discards):
    play = Play(discards=discards, stops=False)
    play.tell("grad grad fails:1 grad stays:2 step fails:4 applied:4 load load_failed:5 grad step")
    play.tell("load call:grad turn=wait loaded:8 turn")  # this costs nothing
    assert play.order.state == "clean"
    assert play.order.known(9, 9) == (EVERY,)


@pytest.mark.parametrize("others", [0, 1])
def test_the_step_that_was_applied_in_ignorance_hears_of_what(others):
    play = Play(discards=False)
    play.tell("grad " * others + "grad step")
    gradient, step = others + 1, others + 2
    play.fails(gradient)
    error = play.order.step_ended(step, "applied", "r-9")
    assert isinstance(error, StepTaintedError if others else PrecedingOperationFailed)
    assert (error.preceding, error.outcome, error.request_id) == (ERROR, "applied", "r-9")
    assert ("had no gradient to apply" in str(error)) == (not others)


@pytest.mark.parametrize("ended", ["applied", "refused", "failed", "unknown"])
def test_a_step_that_builds_on_no_fault_is_what_the_server_says(ended):
    play = Play(discards=False)
    play.tell("grad step")
    assert play.order.step_ended(2, ended) is None


@pytest.mark.parametrize("name", ["grad", "step", "save", "load"])
def test_what_is_not_sent_for_another_reason_has_failed_too(name):
    play = Play(discards=False)
    play.call(name)
    error = play.order.keep_back(OPERATIONS[name], 1, ERROR, cause=7)
    assert isinstance(error, PrecedingOperationFailed)
    assert error.preceding is ERROR
    play.call("grad")
    assert (play.order.ignorant_of(2) is None) == (name == "save")
    play.order.told(7)
    play.call("grad")
    assert play.order.ignorant_of(3) is None


# ---------------------------------------------------------------- what is known


def test_what_a_caller_knew_is_said_until_the_server_has_heard_it():
    play = Play(discards=True)
    play.tell("grad fails:1 call:grad told:1 turn=ignorant grad")
    order = play.order
    assert order.known(2, 2) == ()
    assert order.known(3, 3) == (range(1, 2),)
    play.say("grad")
    assert order.known(4, 4) == (range(1, 2),)
    order.ended(1)
    order.accepted(3)
    assert order.known(4, 4) == ()


def test_what_was_acknowledged_is_said_as_all_numbers_before_it():
    order = Order(discards=True)
    for _ in range(2):
        order.admit(OPERATIONS["grad"], order.call())
    order.acknowledge()
    order.acknowledge()
    assert order.known(2, 4) == (), "this was called before"
    save, later = order.call(), order.call()
    assert order.known(save, 7) == (range(1, 7),)
    assert order.known(later, 9) == (range(1, 7),), "what was called in between is none of it"
    order.failed(OPERATIONS["grad"], 2, ERROR, cause=1, numbers=range(4, 7))
    assert order.known(save, 7) == (range(1, 7), range(4, 7))
    assert (order.last_ignorant(2), order.last_ignorant(save)) == (2, later)
    for place in (save, later):
        order.admit(OPERATIONS["save"], place)
    for place in (1, 2):
        order.ended(place)
    assert order._told._acknowledged == []
    assert order.known(later, 9) == (range(4, 7),)


def test_a_failure_is_remembered_as_long_as_something_is_under_way_that_was_called_in_ignorance_of_it():
    play = Play(discards=True)
    play.tell("grad grad fails:1 told:1 grad")
    order = play.order
    order.accepted(3)
    order.ended(1)
    assert order.ignorant_of(2) is not None
    assert order.ignorant_of(3) is None
    order.ended(2)
    order.ended(3)
    assert order.ignorant_of(2) is None


def test_nothing_is_remembered_for_longer_than_somebody_can_be_ignorant():
    order = Order(discards=True)
    for _ in range(200):
        place = order.call()
        order.admit(OPERATIONS["grad"], place)
        order.failed(OPERATIONS["grad"], place, ERROR, cause=place, numbers=range(place, place + 1))
        order.gradient_ended(place, ERROR, stayed=False)
        order.ended(place)
        order.told(place)
        order.accepted(place)
        assert len(order._told.faults) <= 2


def test_what_is_said_of_it():
    error = RequestFailedError("the cause")
    told = []
    error.on_told = lambda: told.append(1)
    consequence = preceded(OPERATIONS["step"], error)
    assert (consequence.outcome, consequence.preceding) == ("not_applied", error)
    assert "Call save_state again" in str(preceded(OPERATIONS["save"], error))
    assert "acknowledge_failure()" in str(preceded(OPERATIONS["save"], error))
    assert "optim_step was not sent" in str(consequence)
    assert "the cause" in str(consequence)
    consequence.on_told()
    for empty in (True, False):
        applied_behind(error, "r1", empty=empty).on_told()
    assert told == [1, 1, 1]


@pytest.mark.parametrize("story", ["grad grad fails:2 step=ignorant told:2", "grad grad step fails:2 applied:3 told:2"])
def test_why_nothing_may_be_built_on_it_is_said_as_it_is(story):
    play = Play(discards=False)
    play.tell(story + " call:grad")
    found, error = play.order.admit(OPERATIONS["grad"], play.queue[0])
    assert found == "tainted"
    assert error.preceding is ERROR
    assert ("has applied" in str(error), "may hold" in str(error)) == ("applied" in story, "applied" not in story)
    assert "acknowledge_failure" in str(error)
    assert "the cause" in str(error)


def test_each_thing_that_is_left_has_words_of_its_own():
    said = {tainted("optim_step", ERROR, left).message for left in get_args(Left)}
    assert len(said) == len(get_args(Left))


def test_that_gradients_may_not_have_been_discarded_is_said():
    play = Play(discards=True)
    play.tell("grad grad fails:2 step=ignorant told:2 grad=discard")
    play.order.discarded(ERROR)
    found, error = play.order.admit(OPERATIONS["grad"], play.queue[0])
    assert found == "tainted"
    assert "were to be discarded" in str(error)
