"""Operations that wait for a number that never comes."""

from __future__ import annotations

import pytest

from tinker_actors.local.core import Limits

GAP = 60.0


@pytest.fixture
def driver(make_driver):
    return make_driver(Limits(gap_seconds=GAP))


def wait_for_the_gap(driver):
    driver.core.tick(driver.now)
    driver.now += GAP
    driver.core.tick(driver.now)
    driver.work()


def test_what_waits_for_a_missing_number_fails_and_names_it(driver, bodies):
    model = driver.model()
    first = driver.submit("forward_backward", bodies.forward_backward(model, 1))
    late = driver.submit("forward_backward", bodies.forward_backward(model, 3))
    step = driver.submit("optim_step", bodies.optim_step(model, 4))
    driver.work()
    assert driver.result(first)["metrics"]
    wait_for_the_gap(driver)
    assert "seq_id 2 of" in driver.result(late)["error"]
    assert "never came" in driver.result(late)["error"]
    refused = driver.result(step)
    assert refused["preceding_seq_id"] == 2
    assert "discarded" in refused["error"]


def test_the_model_goes_on_behind_a_gap_and_the_late_number_is_refused(driver, bodies):
    model = driver.model()
    driver.submit("optim_step", bodies.optim_step(model, 2))
    wait_for_the_gap(driver)
    status, _ = driver.call("forward_backward", bodies.forward_backward(model, 1))
    assert status == 409
    gradient = driver.submit("forward_backward", bodies.forward_backward(model, 3))
    step = driver.submit("optim_step", bodies.optim_step(model, 4))
    driver.work()
    assert driver.result(gradient)["metrics"]
    assert driver.result(step)["metrics"]["steps:max"] == 1


def test_a_number_that_comes_in_time_is_no_gap(driver, bodies):
    model = driver.model()
    late = driver.submit("optim_step", bodies.optim_step(model, 2))
    driver.core.tick(driver.now)
    driver.now += 0.9 * GAP
    driver.core.tick(driver.now)
    driver.submit("forward_backward", bodies.forward_backward(model, 1))
    driver.work()
    assert driver.result(late)["metrics"]["steps:max"] == 1


@pytest.mark.parametrize("far", [10**9, 2**63 - 1])
def test_a_gap_may_be_as_wide_as_numbers_go(driver, bodies, far):
    model = driver.model()
    late = driver.submit("forward_backward", bodies.forward_backward(model, far))
    wait_for_the_gap(driver)
    assert f"seq_id 1-{far - 1} of" in driver.result(late)["error"]
    assert driver.call("optim_step", bodies.optim_step(model, far // 2))[0] == 409
    data = bodies.forward_backward(model, None)["forward_backward_input"]
    filler = driver.submit("forward", {"model_id": model, "seq_id": far - 1, "forward_input": data})
    driver.work()
    assert "error" not in driver.result(filler)


def test_several_gaps_are_given_up_at_once(driver, bodies):
    model = driver.model()
    late = [driver.submit("forward_backward", bodies.forward_backward(model, number)) for number in (3, 4, 9)]
    wait_for_the_gap(driver)
    said = [driver.result(request_id)["error"] for request_id in late]
    assert [error.rpartition("seq_id ")[2].partition(" of ")[0] for error in said] == ["1-2", "1-2", "1-2, 5-8"]
    for number in (1, 2, 5, 8):
        assert driver.call("optim_step", bodies.optim_step(model, number))[0] == 409


def test_of_many_gaps_the_first_are_named_and_the_rest_is_counted(driver, bodies):
    model = driver.model()
    late = [driver.submit("forward_backward", bodies.forward_backward(model, 2 * number)) for number in range(1, 16)]
    wait_for_the_gap(driver)
    error = driver.result(late[-1])["error"]
    assert "seq_id 1, 3, 5, 7, 9, 11, 13, 15, 17, 19 and 5 further runs of numbers of" in error
