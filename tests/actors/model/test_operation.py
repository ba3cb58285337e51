"""Pending operations: which numbers they take, in which stages they go, and what a failure leaves open."""

from __future__ import annotations

import pytest

from tinker_actors.actors.model.operation import Pending
from tinker_actors.protocol.requests.operations import Operation, Tail
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.progress import Tracker

TAIL = Tail("/api/v1/forward_backward", b'"x":1}', "application/json", 1, "ForwardBackward")


def pending(chunks):
    operation = Operation("forward_backward", (TAIL,) * chunks, gradient=True)
    return Pending(operation, APIFuture(Tracker("forward_backward", 0.0)))


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
    operation = pending(chunks)
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
    operation = pending(chunks)
    operation.plan(server_orders=server_orders)
    assert operation.stages == stages


def test_an_operation_is_concluded_when_every_chunk_handed_over_has_an_end():
    operation = pending(3)
    operation.plan(server_orders=True)
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
