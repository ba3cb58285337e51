"""The requests of an operation: which numbers they take, in which stages they go, and what becomes of them in all."""

from __future__ import annotations

import itertools

import pytest

from tinker_actors.errors import OutcomeUnknownError, PrecedingOperationFailed, RequestFailedError
from tinker_actors.protocol.requests.operations import Operation, Tail
from tinker_actors.protocol.sending import Sending, ended_in_order, has_its_turn

TAIL = Tail("/api/v1/forward_backward", b'"x":1}', "application/json", 1, "ForwardBackward")


ERROR = RequestFailedError("no")

KINDS = {
    "gradient": {"gradient": True},
    "step": {"step": True},
    "load": {"restores": True},
    "save": {},
}


def sending(chunks=1, kind="gradient", place=1):
    made = Sending(Operation("forward_backward", (TAIL,) * chunks, **KINDS[kind]))
    made.place = place
    return made


def sent(kind="gradient", chunks=1, **ends):
    """Return an operation whose chunks were handed over and have ended so: a result or an error for each index."""
    made = sending(chunks, kind)
    made.plan(1, server_orders=True)
    made.stages = []
    made.handed = {100 + index: index for index in range(chunks)}
    made.accepted = set(range(chunks))
    for name, end in ends.items():
        index = int(name.removeprefix("at_"))
        if isinstance(end, Exception):
            made.failed.add(index)
            made.doubt(end, accepted=True)
            made.fails(end)
        else:
            made.results[index] = end
    return made


def refusal(number):
    return PrecedingOperationFailed("not applied", preceding_seq_id=number)


@pytest.mark.parametrize(
    ("first", "chunks", "accepted", "open_numbers"),
    [
        (7, 1, set(), [7]),
        (7, 1, {0}, []),
        (7, 4, set(), [7, 8, 9, 10]),
        (7, 4, {0}, [8, 9, 10]),
        (7, 4, {3}, [7, 8, 9]),
        (7, 4, {1, 2}, [7, 10]),
        (7, 4, {1, 2, 3}, [7]),
        (7, 4, {0, 1, 2, 3}, []),
    ],
)
def test_every_number_that_the_server_did_not_accept_is_open(first, chunks, accepted, open_numbers):
    operation = sending(chunks)
    operation.first, operation.accepted = first, accepted
    assert operation.open_numbers() == open_numbers


@pytest.mark.parametrize(
    ("chunks", "server_orders", "stages"),
    [
        (1, True, [[0]]),
        (1, False, [[0]]),
        (4, True, [[1, 2, 3], [0]]),
        (4, False, [[0], [1], [2], [3]]),
    ],
)
def test_an_ordering_server_gets_the_first_chunk_last(chunks, server_orders, stages):
    operation = sending(chunks)
    assert operation.plan(7, server_orders=server_orders) == 7 + chunks
    assert operation.stages == stages
    assert operation.numbers == range(7, 7 + chunks)


def test_an_operation_is_concluded_when_every_chunk_handed_over_has_an_end():
    operation = sending(3)
    operation.plan(1, server_orders=True)
    assert not operation.concluded
    for work_id, index in enumerate(operation.stages.pop(0)):
        operation.handed[work_id] = index
    assert operation.submitting
    operation.accepted = {1, 2}
    assert not operation.submitting
    operation.handed[2] = operation.stages.pop(0)[0]
    assert operation.submitting
    operation.failed.add(0)
    assert not operation.submitting
    operation.results = {2: "2"}
    assert not operation.concluded
    operation.results[1] = "1"
    assert operation.concluded
    assert operation.values() == ("1", "2")


# ---------------------------------------------------------------- what to do next


def test_what_is_next_when_nothing_is_being_submitted():
    operation = sending(2)
    operation.plan(1, server_orders=True)
    assert operation.next_on_the_way == "stage"
    operation.doubts[1] = "refused"
    assert operation.next_on_the_way == "resolve", "before anything else is sent in that dialect"
    operation.doubts.clear()
    operation.fails(ERROR)
    assert operation.next_on_the_way == "failed", "the other stages are not sent"
    operation = sending(1)
    assert operation.next_on_the_way == "accepted"


def test_what_starts_over_was_never_sent():
    operation = sent(chunks=2, at_0=ERROR, at_1="here")
    operation.start_over([TAIL, TAIL])
    assert operation.anew
    assert (operation.handed, operation.results, operation.accepted, operation.failed) == ({}, {}, set(), set())
    assert operation.open_numbers() == [1, 2]


def test_what_is_behind_an_open_number():
    operation = sent(chunks=3)
    assert operation.behind(1, {100, 101, 102}) == [101, 102]
    assert operation.behind(1, {102}) == [102], "the others have ended"
    assert operation.behind(3, {100, 101, 102}) == []


# ---------------------------------------------------------------- how it ended


@pytest.mark.parametrize(
    ("ends", "ended", "stayed"),
    [
        ({"at_0": "a", "at_1": "b"}, "applied", True),
        ({"at_0": ERROR, "at_1": ERROR}, "failed", False),
        ({"at_0": ERROR, "at_1": "b"}, "failed", True),
        ({"at_0": OutcomeUnknownError("?"), "at_1": ERROR}, "unknown", True),
        ({"at_0": ERROR, "at_1": OutcomeUnknownError("?")}, "unknown", True),
        ({"at_0": refusal(9), "at_1": refusal(9)}, "refused", False),
    ],
)
def test_how_it_ended_and_whether_something_of_it_stayed(ends, ended, stayed):
    operation = sent(chunks=2, **ends)
    assert operation.concluded
    assert (operation.ended, operation.stayed) == (ended, stayed)


def test_the_first_failure_is_the_operations_unless_it_points_at_another_part():
    operation = sending(2)
    operation.plan(4, server_orders=True)
    assert not operation.fails(refusal(4)), "that part will say why"
    assert operation.refused_within
    assert operation.fails(ERROR)
    assert operation.error is ERROR
    assert not operation.fails(RequestFailedError("later"))
    assert operation.error is ERROR


def test_because_of_what_it_was_refused_is_known_later():
    operation = sending(1)
    operation.plan(4, server_orders=True)
    assert not operation.fails(refusal(2))
    assert operation.refused_behind
    assert not operation.refused_within


@pytest.mark.parametrize("first", ["gradient", "step", "load", "save"])
@pytest.mark.parametrize("then", ["gradient", "step", "load", "save", "refused"])
def test_what_may_have_to_say_that_something_failed_waits_for_that(first, then):
    under_way = sent(first)
    ended = sent("save", at_0=refusal(1)) if then == "refused" else sent(then, at_0="done")
    waits = then in ("step", "refused") and first != "save"
    assert ended_in_order([under_way, ended], None) == ([] if waits else [ended])
    under_way.results[0] = "done"
    assert ended_in_order([under_way, ended], None) == [under_way, ended]


def test_what_is_on_its_way_out_has_not_ended():
    operation = sent(at_0=ERROR)
    assert ended_in_order([operation], operation) == []
    assert ended_in_order([operation], None) == [operation]


@pytest.mark.parametrize("facts", list(itertools.product([True, False], repeat=6)))
def test_when_it_is_decided_what_becomes_of_the_first_that_waits(facts):
    ignorant, sending_another, held, model, sampler_number, gap = facts
    asked = []
    found = has_its_turn(
        ignorant=ignorant,
        sending=sending_another,
        held=held,
        model=model,
        sampler_number=sampler_number,
        gap=lambda: asked.append(1) or gap,
    )
    assert bool(asked) == (not ignorant and not sending_another and not held and model and sampler_number)
    if ignorant:
        assert found, "it fails, and nobody waits for that"
    elif sending_another or gap:
        assert not found, "what is before it may yet be refused"
    elif held:
        assert not found, "nothing is sent for a session that is lost"
    else:
        assert found == (model and sampler_number)
