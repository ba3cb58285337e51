"""The sequencer, and what it means for a model's operations."""

from __future__ import annotations

import itertools

import pytest

from tinker_actors.local.core.models.ordering import Sequencer


@pytest.mark.parametrize("arrival", list(itertools.permutations([1, 2, 3, 4])))
def test_numbers_leave_in_order_whatever_order_they_arrive_in(arrival):
    line = Sequencer()
    left = []
    for number in arrival:
        line.put(number, number)
        while (item := line.pop()) is not None:
            left.append(item)
    assert left == [1, 2, 3, 4]


def test_an_item_without_a_number_leaves_at_once_even_when_numbers_wait():
    line = Sequencer()
    line.put(2, "two")
    line.put(None, "unnumbered")
    assert [line.pop(), line.pop()] == ["unnumbered", None]
    assert line.is_early(2)
    assert line.next_number == 1


def test_a_number_whose_turn_is_over_is_refused_and_nothing_changes():
    line = Sequencer()
    line.put(1, "one")
    with pytest.raises(ValueError, match="number 1 has had its turn"):
        line.put(1, "again")
    assert [line.pop(), line.pop()] == ["one", None]


def run_in_arrival_order(driver, bodies, arrival):
    model = driver.model()
    steps = {
        1: ("forward_backward", bodies.forward_backward(model, 1)),
        2: ("optim_step", bodies.optim_step(model, 2)),
        3: ("forward_backward", bodies.forward_backward(model, 3, bodies.datum([4, 5]))),
        4: ("optim_step", bodies.optim_step(model, 4)),
    }
    ids = {}
    for number in arrival:
        ids[number] = driver.submit(*steps[number])
        driver.work("train")
    return [driver.result(ids[number])["metrics"] for number in sorted(ids)]


@pytest.mark.parametrize("arrival", [(1, 2, 3, 4), (2, 3, 4, 1), (4, 3, 2, 1), (2, 1, 4, 3)])
def test_weights_do_not_depend_on_the_order_of_arrival(make_driver, bodies, arrival):
    expected = run_in_arrival_order(make_driver(), bodies, (1, 2, 3, 4))
    assert run_in_arrival_order(make_driver(), bodies, arrival) == expected
    assert expected[-1]["steps:max"] == 2


def test_other_operations_in_another_order_give_other_weights(driver, bodies):
    one, two = driver.model(), driver.model()
    short, long = bodies.datum([4, 5]), bodies.datum([6, 7, 8])
    for model, data in ((one, (short, long)), (two, (long, short))):
        for number, item in enumerate(data, start=1):
            driver.submit("forward_backward", bodies.forward_backward(model, number, item))
    ids = [driver.submit("optim_step", bodies.optim_step(model, 3)) for model in (one, two)]
    driver.work()
    first, second = (driver.result(found)["metrics"]["weights:unique"] for found in ids)
    assert first != second


def test_an_early_operation_waits_and_its_poll_says_for_what(driver, bodies):
    model = driver.model()
    request_id = driver.submit("optim_step", bodies.optim_step(model, 2))
    assert driver.work() == 0
    hold = driver.poll(request_id)
    driver.now = hold.deadline
    said = driver.core.resume(hold, driver.now)
    assert b"waits for seq_id 1" in said.body
    assert b"try_again" in said.body


def test_operations_without_numbers_run_in_arrival_order(driver, bodies):
    model = driver.model()
    first = driver.submit("forward_backward", bodies.forward_backward(model, None))
    second = driver.submit("optim_step", bodies.optim_step(model, None))
    assert driver.work() == 2
    assert driver.result(first)["metrics"]["forward_backwards:max"] == 1
    assert driver.result(second)["metrics"]["steps:max"] == 1


def test_models_take_turns(driver, bodies):
    session = driver.session()
    one, two = driver.model(session, 0), driver.model(session, 1)
    for number in (1, 2):
        driver.submit("forward_backward", bodies.forward_backward(one, number))
    only = driver.submit("forward_backward", bodies.forward_backward(two, 1))
    for _ in range(2):
        job = driver.core.next_job("train")
        driver.core.finish(job, job.run(), driver.now)
    assert driver.result(only)["type"] == "forward_backward"


def test_a_model_has_one_job_at_a_time(driver, bodies):
    model = driver.model()
    for number in (1, 2):
        driver.submit("forward_backward", bodies.forward_backward(model, number))
    job = driver.core.next_job("train")
    assert driver.core.next_job("train") is None
    driver.core.finish(job, job.run(), driver.now)
    assert driver.core.next_job("train") is not None
