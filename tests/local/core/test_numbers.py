"""Resends: the same request under the same number is the same request, a different one is refused."""

from __future__ import annotations

import json

import pytest

from tinker_actors.local.ledger import LEDGER_NAME


def test_a_resent_operation_gets_the_same_answer_and_is_applied_once(driver, bodies):
    model = driver.model()
    body = bodies.forward_backward(model, 1)
    first = driver.call("forward_backward", body)
    assert driver.call("forward_backward", body) == first
    driver.work()
    assert driver.call("forward_backward", body) == first
    assert driver.work() == 0
    assert driver.result(first[1]["request_id"])["metrics"]["forward_backwards:max"] == 1


def test_a_different_body_under_a_used_number_is_a_conflict_not_to_be_retried(driver, bodies):
    model = driver.model()
    driver.submit("forward_backward", bodies.forward_backward(model, 1))
    for path, body in (
        ("forward_backward", bodies.forward_backward(model, 1, bodies.datum([9]))),
        ("optim_step", bodies.optim_step(model, 1)),
    ):
        answer = driver.raw(path, json.dumps(body).encode())
        assert answer.status == 409
        assert dict(answer.headers)["x-should-retry"] == "false"
        assert b"seq_id 1" in answer.body


@pytest.mark.parametrize("path", ["create_model", "load_weights"])
def test_a_model_is_created_once_per_number(driver, path):
    session = driver.session()
    body = {"session_id": session, "model_seq_id": 3}
    if path == "create_model":
        body["base_model"] = LEDGER_NAME
    else:
        body |= {"path": "tinker://r:train:0/weights/w", "optimizer": False}
    first = driver.good(path, body)
    assert first["model_id"] == f"{session}:train:3"
    assert driver.good(path, body) == first
    assert driver.call(path, {**body, "user_metadata": {"a": 1}})[0] == 409


def test_a_sampler_is_created_once_per_number_and_shares_numbers_with_ephemeral_saves(driver):
    session = driver.session()
    body = {"session_id": session, "sampling_session_seq_id": 0, "base_model": LEDGER_NAME}
    first = driver.good("create_sampling_session", body)
    assert first["sampling_session_id"] == f"{session}:sample:0"
    assert driver.good("create_sampling_session", body) == first
    model = driver.model(session)
    save = {"model_id": model, "seq_id": 1, "sampling_session_seq_id": 0}
    assert driver.call("save_weights_for_sampler", save)[0] == 409
    again = driver.submit("save_weights_for_sampler", {**save, "seq_id": 2, "sampling_session_seq_id": 1})
    driver.work()
    assert driver.result(again) == {
        "type": "save_weights_for_sampler",
        "path": None,
        "sampling_session_id": f"{session}:sample:1",
    }


def test_an_ephemeral_save_without_a_number_of_its_own_is_known_by_the_samplers(driver):
    model = driver.model()
    body = {"model_id": model, "seq_id": None, "sampling_session_seq_id": 7}
    first = driver.submit("save_weights_for_sampler", body)
    assert driver.submit("save_weights_for_sampler", body) == first
    assert driver.work() == 1


def test_a_resent_sample_is_drawn_once(driver, bodies):
    sampler = driver.sampler()
    body = bodies.sample(sampler, 10**18)
    first = driver.good("asample", body)
    assert driver.good("asample", body) == first
    assert driver.call("asample", bodies.sample(sampler, 10**18, num_samples=2))[0] == 409
    assert driver.good("asample", bodies.sample(sampler, 1)) != first


def test_samples_without_numbers_are_all_different(driver, bodies):
    sampler = driver.sampler()
    assert driver.submit("asample", bodies.sample(sampler, None)) != driver.submit(
        "asample", bodies.sample(sampler, None)
    )


@pytest.mark.parametrize("number", [2**63, -1])
@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("create_model", {"model_seq_id": None, "base_model": LEDGER_NAME}),
        ("load_weights", {"model_seq_id": None, "path": "PATH"}),
        ("copy_weights", {"model_seq_id": None, "source_path": "PATH"}),
        ("create_sampling_session", {"sampling_session_seq_id": None, "base_model": LEDGER_NAME}),
        ("save_weights_for_sampler", {"sampling_session_seq_id": None, "model_id": "MODEL"}),
        ("optim_step", {"seq_id": None, "model_id": "MODEL", "adam_params": {}}),
        ("asample", {"seq_id": None, "sampling_params": {}, "prompt": {"chunks": [{"tokens": [1]}]}}),
    ],
)
def test_a_number_that_can_not_be_one_is_refused_wherever_one_is_given(driver, path, fields, number):
    session = driver.session()
    model = driver.model(session)
    saved = driver.saved(model, 1, "a")
    values = {None: number, "MODEL": model, "PATH": saved}
    body = {"session_id": session, "sampling_session_id": driver.sampler(session)}
    body |= {name: values.get(value, value) if not isinstance(value, dict) else value for name, value in fields.items()}
    kept = {name: value for name, value in body.items() if name != "sampling_session_id" or path == "asample"}
    status, said = driver.call(path, kept)
    assert status == 422
    assert "seq_id" in said["detail"]
    assert driver.work() == 0
