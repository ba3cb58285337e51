"""Who knows of which failure, and how one is found that a server names by number."""

from __future__ import annotations

import pytest

from tinker_actors.errors import PrecedingOperationFailed, RequestFailedError
from tinker_actors.protocol.order import Order
from tinker_actors.protocol.requests.operations import Operation
from tinker_actors.protocol.told import Fault, Told

GRADIENT = Operation("forward_backward", (), gradient=True)
STEP = Operation("optim_step", (), step=True)
SAVE = Operation("save_state", ())


def error(text="the cause"):
    return RequestFailedError(text)


def refusal(number):
    return PrecedingOperationFailed("Not applied", preceding_seq_id=number)


def test_of_several_faults_the_one_that_is_named_is_found_else_the_first():
    told = Told()
    first, second = Fault(1, 1, error(), range(1, 3)), Fault(2, 2, error(), range(3, 5))
    told.failed(first)
    told.failed(second)
    assert told.ignorant_of(3, 4) is second
    assert told.ignorant_of(3, 2) is first
    assert told.ignorant_of(3, 99) is told.ignorant_of(3) is first
    assert told.ignorant_of(1) is None
    told.tell(1, at=4)
    assert told.ignorant_of(5) is second
    assert told.ignorant_of(4) is first, "it was called before"


def test_the_last_failures_are_remembered_by_number():
    told = Told()
    for number in range(1, 200):
        told.remember(range(number, number + 1), error(str(number)))
    told.remember(range(0), error("was not sent"))
    assert told.named(199).message == "199"
    assert told.named(1) is None
    assert told.named(None) is None


@pytest.mark.parametrize("stops", [True, False])
@pytest.mark.parametrize("told", [True, False])
def test_a_refusal_leads_to_the_failure_that_it_names(stops, told):
    order, cause, said = Order(stops=stops), error(), refusal(7)
    cause.on_told = lambda: None
    places = [order.call() for _ in range(2)]
    order.admit(GRADIENT, places[0])
    order.failed(GRADIENT, places[0], cause, 1, range(7, 8))
    order.gradient_ended(places[0], cause, stayed=False)
    if told:
        order.told(1)
        places[1] = order.call()
    fault = order.refused_behind(STEP, places[1], said)
    assert said.preceding is cause
    # Who was ignorant of it is told of it by this; else this is another thing to be told of.
    assert (fault is not None) == (stops and not told) == (said.on_told is not None)


def test_a_refusal_because_of_something_that_nobody_here_has_heard_of_leads_nowhere():
    order, said = Order(), refusal(7)
    assert order.refused_behind(STEP, order.call(), said) is None
    assert (said.preceding, said.on_told) == (None, None)


def test_what_may_be_called_again_says_so():
    order, said = Order(), refusal(7)
    order.refused_behind(SAVE, order.call(), said)
    assert "Call save_state again" in said.advice
