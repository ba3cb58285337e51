"""A gradient that failed: the step behind it is refused unapplied, and then all is well again."""

from __future__ import annotations

import pytest


@pytest.fixture
def model(driver):
    return driver.model()


def bad(bodies):
    return bodies.datum([5, 10**6])


def test_the_step_behind_a_failed_gradient_is_refused_and_says_why(driver, bodies, model):
    before = driver.submit("forward_backward", bodies.forward_backward(model, 1))
    clean = driver.submit("optim_step", bodies.optim_step(model, 2))
    failed = driver.submit("forward_backward", bodies.forward_backward(model, 3, bodies.datum(), bad(bodies)))
    also = driver.submit("forward_backward", bodies.forward_backward(model, 4))
    refused = driver.submit("optim_step", bodies.optim_step(model, 5))
    driver.work()
    assert driver.result(before)["type"] == "forward_backward"
    weights = driver.result(clean)["metrics"]["weights:unique"]
    assert driver.result(failed)["category"] == "user"
    assert "datum 1: model_input contains token 1000000" in driver.result(failed)["error"]
    assert driver.result(also)["type"] == "forward_backward"
    said = driver.result(refused)
    assert said["category"] == "user"
    assert said["preceding_seq_id"] == 3
    assert "optim_step with seq_id 5 refused: forward_backward with seq_id 3 failed: datum 1" in said["error"]
    assert current_weights(driver, bodies, model, 6) == weights


def current_weights(driver, bodies, model, seq_id):
    """Return what identifies the weights after a step without gradients: it shows in nothing else."""
    request_id = driver.submit("save_weights", {"model_id": model, "seq_id": seq_id, "path": f"at{seq_id}"})
    driver.work()
    saved = driver.store.read(driver.result(request_id)["path"])
    return float(int.from_bytes(saved.adapter["link"].tobytes()[:6], "big"))


def test_what_had_accumulated_is_discarded_and_the_model_is_clean_again(driver, make_driver, bodies, model):
    for number, data in ((1, bodies.datum()), (2, bad(bodies))):
        driver.submit("forward_backward", bodies.forward_backward(model, number, data))
    driver.submit("optim_step", bodies.optim_step(model, 3))
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
    driver.submit("forward_backward", bodies.forward_backward(model, 2, bad(bodies)))
    driver.submit("load_weights", {"model_id": model, "seq_id": 3, "path": path, "optimizer": True})
    step = driver.submit("optim_step", bodies.optim_step(model, 4))
    driver.work()
    assert driver.result(step)["metrics"]["steps:max"] == 1


def test_loading_from_nowhere_does_not(driver, bodies, model):
    driver.submit("forward_backward", bodies.forward_backward(model, 1, bad(bodies)))
    nowhere = {"model_id": model, "seq_id": 2, "path": "tinker://x/weights/y", "optimizer": True}
    failed = driver.submit("load_weights", nowhere)
    step = driver.submit("optim_step", bodies.optim_step(model, 3))
    driver.work()
    assert "there is no checkpoint" in driver.result(failed)["error"]
    assert driver.result(step)["preceding_seq_id"] == 1


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
