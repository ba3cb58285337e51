"""What failed: whatever was called in ignorance of it is refused, a step with its gradients; then all is well again."""

from __future__ import annotations

import json

import pytest

from tinker_actors.local.core import Limits


@pytest.fixture
def model(driver):
    return driver.model()


def bad(bodies):
    return bodies.datum([5, 10**6])


def test_the_step_behind_a_failed_gradient_is_refused_and_says_why(driver, bodies, model):
    before = driver.submit("forward_backward", bodies.forward_backward(model, 1))
    clean = driver.submit("optim_step", bodies.optim_step(model, 2))
    failed = driver.submit("forward_backward", bodies.forward_backward(model, 3, bodies.datum(), bad(bodies)))
    also = [
        driver.submit("forward_backward", bodies.forward_backward(model, 4)),
        driver.submit("save_weights", {"model_id": model, "seq_id": 5, "path": "behind"}),
    ]
    refused = driver.submit("optim_step", bodies.optim_step(model, 6))
    driver.work()
    assert driver.result(before)["type"] == "forward_backward"
    weights = driver.result(clean)["metrics"]["weights:unique"]
    assert driver.result(failed)["category"] == "user"
    assert "datum 1: model_input contains token 1000000" in driver.result(failed)["error"]
    for request_id in also:
        assert driver.result(request_id)["preceding_seq_id"] == 3
        assert "had not been told that forward_backward with seq_id 3 failed" in driver.result(request_id)["error"]
    said = driver.result(refused)
    assert said["category"] == "user"
    assert said["preceding_seq_id"] == 3
    assert "optim_step with seq_id 6 refused: forward_backward with seq_id 3 failed: datum 1" in said["error"]
    assert current_weights(driver, bodies, model, 7) == weights


def current_weights(driver, bodies, model, seq_id):
    """Return what identifies the weights after a step without gradients: it shows in nothing else."""
    request_id = driver.submit("save_weights", {"model_id": model, "seq_id": seq_id, "path": f"at{seq_id}"})
    driver.work()
    saved = driver.store.read(driver.result(request_id)["path"])
    return float(int.from_bytes(saved.adapter["link"].tobytes()[:6], "big"))


def test_what_had_accumulated_is_discarded_and_the_model_is_clean_again(driver, make_driver, bodies, model):
    for number, data in ((1, bodies.datum()), (2, bad(bodies))):
        driver.submit("forward_backward", bodies.forward_backward(model, number, data))
    refused = driver.submit("optim_step", bodies.optim_step(model, 3))
    driver.work()
    assert driver.result(refused)["preceding_seq_id"] == 2  # and with this answer its client has been told
    driver.submit("forward_backward", bodies.forward_backward(model, 4, bodies.datum([7])))
    last = driver.submit("optim_step", bodies.optim_step(model, 5))
    driver.work()

    fresh = make_driver()
    other = fresh.model()
    fresh.submit("forward_backward", bodies.forward_backward(other, 1, bodies.datum([7])))
    only = fresh.submit("optim_step", bodies.optim_step(other, 2))
    fresh.work()
    found, expected = driver.result(last)["metrics"], fresh.result(only)["metrics"]
    assert found["weights:unique"] == expected["weights:unique"]


def test_the_first_of_several_failures_is_named(driver, bodies, model):
    for number in (1, 2):
        driver.submit("forward_backward", bodies.forward_backward(model, number, bad(bodies)))
    refused = driver.submit("optim_step", bodies.optim_step(model, 3))
    driver.work()
    assert driver.result(refused)["preceding_seq_id"] == 1


def test_a_failed_forward_is_no_reason_to_refuse(driver, bodies, model):
    body = {"model_id": model, "seq_id": 1, "forward_input": {"data": [bad(bodies)], "loss_fn": "cross_entropy"}}
    failed = driver.submit("forward", body)
    step = driver.submit("optim_step", bodies.optim_step(model, 2))
    driver.work()
    assert "error" in driver.result(failed)
    assert driver.result(step)["metrics"]["steps:max"] == 1


def test_loading_weights_makes_a_model_clean(driver, bodies, model):
    saved = driver.submit("save_weights", {"model_id": model, "seq_id": 1, "path": "here"})
    driver.work()
    path = driver.result(saved)["path"]
    failed = driver.submit("forward_backward", bodies.forward_backward(model, 2, bad(bodies)))
    load = {"model_id": model, "seq_id": 3, "path": path, "optimizer": True}
    ignorant = driver.submit("load_weights", load)
    driver.work()
    assert driver.result(ignorant)["preceding_seq_id"] == 2
    assert "error" in driver.result(failed)
    driver.submit("load_weights", {**load, "seq_id": 4})
    step = driver.submit("optim_step", bodies.optim_step(model, 5))
    driver.work()
    assert driver.result(step)["metrics"]["steps:max"] == 1


def test_loading_from_nowhere_does_not(driver, bodies, model):
    gradient = driver.submit("forward_backward", bodies.forward_backward(model, 1, bad(bodies)))
    driver.work()
    assert "error" in driver.result(gradient)
    nowhere = {"model_id": model, "seq_id": 2, "path": "tinker://x/weights/y", "optimizer": True}
    failed = driver.submit("load_weights", nowhere)
    step = driver.submit("optim_step", bodies.optim_step(model, 3))
    driver.work()
    assert "there is no checkpoint" in driver.result(failed)["error"]
    assert driver.result(step)["preceding_seq_id"] == 2, "what was called for other weights is not applied to these"


def test_a_request_refused_at_once_holds_its_place_and_counts_as_failed(driver, bodies, model):
    step = driver.submit("optim_step", bodies.optim_step(model, 2))
    wrong = bodies.forward_backward(model, 1, loss="no_such_loss")
    status, said = driver.call("forward_backward", wrong)
    assert status == 400
    assert "cross_entropy, importance_sampling, ppo" in said["detail"]
    driver.work()
    assert driver.result(step)["preceding_seq_id"] == 1
    assert driver.call("forward_backward", wrong) == (status, said)
    next_step = driver.submit("optim_step", bodies.optim_step(model, 3))
    driver.work()
    assert driver.result(next_step)["metrics"]["steps:max"] == 1


def test_a_refused_place_may_be_filled_by_a_forward_and_by_nothing_else(driver, bodies, model):
    driver.call("forward_backward", bodies.forward_backward(model, 1, loss="no_such_loss"))
    filler = {
        "model_id": model,
        "seq_id": 1,
        "forward_input": {"data": [bodies.datum()], "loss_fn": "cross_entropy"},
    }
    assert driver.call("forward_backward", bodies.forward_backward(model, 1))[0] == 409
    filled = driver.submit("forward", filler)
    step = driver.submit("optim_step", bodies.optim_step(model, 2))
    driver.work()
    assert driver.result(filled)["type"] == "forward"
    assert driver.result(step)["preceding_seq_id"] == 1, "a filler is no gradient"


def test_a_body_of_the_wrong_form_holds_its_place_too(driver, bodies, model):
    status, said = driver.call("forward_backward", {"model_id": model, "seq_id": 1, "forward_backward_input": 5})
    assert status == 422
    assert "forward_backward_input" in said["detail"]
    step = driver.submit("optim_step", bodies.optim_step(model, 2))
    driver.work()
    assert driver.result(step)["preceding_seq_id"] == 1


def test_an_engine_that_breaks_is_the_servers_fault_and_taints_all_the_same(driver, bodies, model, monkeypatch, caplog):
    def broken(*_):
        raise MemoryError("no room")

    monkeypatch.setattr("tinker_actors.local.ledger.LedgerModel.forward_backward", broken)
    failed = driver.submit("forward_backward", bodies.forward_backward(model, 1))
    step = driver.submit("optim_step", bodies.optim_step(model, 2))
    driver.work()
    assert driver.result(failed)["category"] == "server"
    assert driver.result(step)["preceding_seq_id"] == 1
    assert "no room" in caplog.text


# ---------------------------------------------------------------- what a client was told


def refuse(driver, bodies, model, number):
    assert driver.call("forward_backward", bodies.forward_backward(model, number, loss="no_such_loss"))[0] == 400


def batch(driver, bodies, model, number):
    """Submit a good batch and its step, and return what becomes of both."""
    gradient = driver.submit("forward_backward", bodies.forward_backward(model, number))
    step = driver.submit("optim_step", bodies.optim_step(model, number + 1))
    driver.work()
    return driver.result(gradient), driver.result(step)


def told_of(driver, bodies, model, number, how):
    """Have a gradient fail, and tell its client. Return the next number."""
    if how == "refused":
        refuse(driver, bodies, model, number)
        return number + 1
    failed = driver.submit("forward_backward", bodies.forward_backward(model, number, bad(bodies)))
    driver.work()
    assert "error" in driver.result(failed)
    return number + 1


def same_as(make_driver, bodies, *batches):
    """Return the weights after these gradients and their step, on a server where nothing failed."""
    driver = make_driver()
    model = driver.model()
    for number, tokens in enumerate(batches, 1):
        driver.submit("forward_backward", bodies.forward_backward(model, number, bodies.datum(tokens)))
    step = driver.submit("optim_step", bodies.optim_step(model, len(batches) + 1))
    driver.work()
    return driver.result(step)["metrics"]["weights:unique"]


@pytest.mark.parametrize("later", [[], [[8]]])
@pytest.mark.parametrize("how", ["refused", "failed"])
def test_earlier_gradients_of_the_step_count_for_who_was_told(driver, make_driver, bodies, model, how, later):
    for number, tokens in ((1, [6]), (2, [7])):
        driver.submit("forward_backward", bodies.forward_backward(model, number, bodies.datum(tokens)))
    number = told_of(driver, bodies, model, 3, how)
    for tokens in later:
        driver.submit("forward_backward", bodies.forward_backward(model, number, bodies.datum(tokens)))
        number += 1
    step = driver.submit("optim_step", bodies.optim_step(model, number))
    driver.work()
    assert driver.result(step)["metrics"]["weights:unique"] == same_as(make_driver, bodies, [6], [7], *later)


@pytest.mark.parametrize("how", ["refused", "failed"])
def test_a_step_without_any_gradient_of_its_own_was_called_together_with_what_failed(driver, bodies, model, how):
    batch(driver, bodies, model, 1)  # whose gradient is gone with its step
    number = told_of(driver, bodies, model, 3, how)
    refused = driver.submit("optim_step", bodies.optim_step(model, number))
    again = driver.submit("optim_step", bodies.optim_step(model, number + 1))
    driver.work()
    assert driver.result(refused)["preceding_seq_id"] == 3
    assert driver.result(again)["metrics"]["steps:max"] == 2, "this one was not"


@pytest.mark.parametrize("before", [0, 1])
def test_what_was_refused_at_once_does_not_stop_a_step_with_gradients_of_its_own(driver, bodies, model, before):
    for number in range(1, before + 1):
        driver.submit("forward_backward", bodies.forward_backward(model, number))
    refuse(driver, bodies, model, before + 1)
    gradient, step = batch(driver, bodies, model, before + 2)
    assert gradient["type"] == "forward_backward"
    assert step["metrics"]["steps:max"] == 1


@pytest.mark.parametrize("told", [True, False])
def test_a_failure_whose_result_was_fetched_does_not_either(driver, bodies, model, told):
    failed = driver.submit("forward_backward", bodies.forward_backward(model, 1, bad(bodies)))
    driver.work()
    if told:
        assert "error" in driver.result(failed)
    found = batch(driver, bodies, model, 2)
    assert ["error" in each for each in found] == [not told, not told]


def test_what_a_failure_did_not_concern_goes_on_once_it_was_fetched(driver, bodies, model):
    failed = driver.submit("forward_backward", bodies.forward_backward(model, 1, bad(bodies)))
    driver.work()
    assert "error" in driver.result(failed)
    assert driver.saved(model, 2, "rescue")
    saved = driver.submit("save_weights_for_sampler", {"model_id": model, "seq_id": 3, "sampling_session_seq_id": 0})
    driver.work()
    assert driver.result(saved)["sampling_session_id"]


def test_a_result_that_nobody_will_fetch_any_more_counts_as_fetched(make_driver, bodies):
    driver = make_driver(Limits(future_records=1))
    model = driver.model()
    driver.submit("forward_backward", bodies.forward_backward(model, 1, bad(bodies)))
    driver.work()
    driver.submit("save_weights", {"model_id": model, "seq_id": 2, "path": "x"})
    driver.work()  # it is refused, and there is room for that answer only
    assert batch(driver, bodies, model, 3)[1]["metrics"]["steps:max"] == 1


# How the requests of one call come, the one of them that is refused, and whether the step behind is applied. Most
# clients send the first one last. Those that come in order look like several calls, unless the earlier one is full.
ARRIVALS = [
    *[(order, refused, False) for order in [(2, 3, 1), (3, 2, 1)] for refused in order],
    *[((1, 2, 3), refused, True) for refused in (1, 2, 3)],
]


@pytest.mark.parametrize(("order", "refused", "applied"), ARRIVALS)
def test_the_rest_of_a_call_is_no_gradient_of_a_steps_own(driver, bodies, model, order, refused, applied):
    for number in order:
        if number == refused:
            refuse(driver, bodies, model, number)
        else:
            driver.submit("forward_backward", bodies.forward_backward(model, number))
    step = driver.submit("optim_step", bodies.optim_step(model, 4))
    driver.work()
    assert ("metrics" in driver.result(step)) is applied


def full(bodies, how):
    """Return the data of a request behind which a client begins another one."""
    return [bodies.datum([1])] * 1024 if how == "datums" else [bodies.datum([1] * 500)] * 150


@pytest.mark.parametrize("how", ["datums", "size"])
@pytest.mark.parametrize("refused", [True, False])
def test_behind_a_full_request_in_json_comes_the_rest_of_its_call(make_driver, bodies, how, refused):
    driver = make_driver()
    model = driver.model()
    driver.submit("forward_backward", bodies.forward_backward(model, 1, *full(bodies, how)))
    if refused:
        wrong = bodies.forward_backward(model, 2, *full(bodies, how), loss="no_such_loss")
        assert driver.call("forward_backward", wrong)[0] == 400
        driver.work()
    else:
        data = [*full(bodies, how), bad(bodies)]
        failed = driver.submit("forward_backward", bodies.forward_backward(model, 2, *data))
        driver.work()
        assert "error" in driver.result(failed)
    step = driver.submit("optim_step", bodies.optim_step(model, 3))
    driver.work()
    assert driver.result(step)["preceding_seq_id"] == 2


@pytest.mark.parametrize("in_between", [False, True])
@pytest.mark.parametrize("bad_part", [2, 3, 4])
def test_what_is_there_of_a_call_that_failed_in_part_is_no_part_of_the_next_step(
    driver, make_driver, bodies, model, bad_part, in_between
):
    driver.submit("forward_backward", bodies.forward_backward(model, 1, bodies.datum([6])))
    parts = {}
    for number in (3, 4, 2):
        data = bad(bodies) if number == bad_part else bodies.datum([7])
        parts[number] = driver.submit("forward_backward", bodies.forward_backward(model, number, data))
    driver.work()
    for request_id in parts.values():
        driver.result(request_id)
    number = 5
    if in_between:  # another failure, which stands for the first one
        number = told_of(driver, bodies, model, number, "refused")
    driver.submit("forward_backward", bodies.forward_backward(model, number, bodies.datum([8])))
    step = driver.submit("optim_step", bodies.optim_step(model, number + 1))
    driver.work()
    # Where nothing stayed of it, earlier gradients of the step count.
    expected = [[6], [8]] if bad_part == 2 else [[8]]
    assert driver.result(step)["metrics"]["weights:unique"] == same_as(make_driver, bodies, *expected)


# ---------------------------------------------------------------- what a client says that its caller knew


def knowing(driver, path, body, text):
    answer = driver.raw(path, json.dumps(body).encode(), **{"x-known-failures": text})
    said = json.loads(answer.body)
    return said["request_id"] if answer.status == 200 else answer.status


def test_who_says_what_he_knew_is_taken_at_his_word(driver, bodies, model):
    failed = driver.submit("forward_backward", bodies.forward_backward(model, 1, bad(bodies)))
    driver.work()
    assert "error" in driver.result(failed)  # which tells his client, but not him
    ignorant = [
        knowing(driver, "forward_backward", bodies.forward_backward(model, 2), ""),
        knowing(driver, "optim_step", bodies.optim_step(model, 3), ""),
        knowing(driver, "save_weights", {"model_id": model, "seq_id": 4, "path": "x"}, "2, 5-9"),
    ]
    told = knowing(driver, "optim_step", bodies.optim_step(model, 5), "1")
    later = knowing(driver, "optim_step", bodies.optim_step(model, 6), "")
    driver.work()
    for request_id in ignorant:
        assert driver.result(request_id)["preceding_seq_id"] == 1
    assert driver.result(told)["metrics"]["steps:max"] == 1, "as called, with or without gradients"
    assert driver.result(later)["metrics"]["steps:max"] == 2, "what one knew is known to all behind him"


def test_earlier_gradients_count_for_who_knew(driver, make_driver, bodies, model):
    knowing(driver, "forward_backward", bodies.forward_backward(model, 1), "")
    assert knowing(driver, "forward_backward", bodies.forward_backward(model, 2, loss="no_such_loss"), "") == 400
    step = knowing(driver, "optim_step", bodies.optim_step(model, 3), "2")
    driver.work()
    fresh = make_driver()
    other = fresh.model()
    expected = batch(fresh, bodies, other, 1)[1]
    assert driver.result(step)["metrics"]["weights:unique"] == expected["metrics"]["weights:unique"]


def test_gradients_are_discarded_when_that_is_asked(driver, make_driver, bodies, model):
    driver.submit("forward_backward", bodies.forward_backward(model, 1))
    discarded = driver.submit("optim_step", {**bodies.optim_step(model, 2), "discard": True})
    driver.submit("forward_backward", bodies.forward_backward(model, 3, bodies.datum([7])))
    step = driver.submit("optim_step", bodies.optim_step(model, 4))
    driver.work()
    assert driver.result(discarded)["metrics"] == {}
    fresh = make_driver()
    other = fresh.model()
    fresh.submit("forward_backward", bodies.forward_backward(other, 1, bodies.datum([7])))
    only = fresh.submit("optim_step", bodies.optim_step(other, 2))
    fresh.work()
    assert driver.result(step)["metrics"]["weights:unique"] == fresh.result(only)["metrics"]["weights:unique"]


def test_a_header_that_cant_be_read_is_refused_and_holds_its_place(driver, bodies, model):
    assert knowing(driver, "optim_step", bodies.optim_step(model, 1), "1-x") == 400
    step = knowing(driver, "optim_step", bodies.optim_step(model, 2), "1")
    driver.work()
    assert driver.result(step)["metrics"]["steps:max"] == 1


def test_failures_that_are_known_leave_nothing_behind(driver, bodies, model):
    for number in range(1, 30):
        failed = driver.submit("forward_backward", bodies.forward_backward(model, number, bad(bodies)))
        driver.work()
        assert "error" in driver.result(failed)
    assert len(list(driver.core.state.models[model].taints.told)) == 1
