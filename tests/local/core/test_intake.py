"""How large a body may be, and how much may be in it."""

from __future__ import annotations

import json

import pytest

from tinker_actors.local.core import CoreRequest, Limits
from tinker_actors.local.core.requests.intake import SMALL_BYTES, bounds_of, require_few
from tinker_actors.local.core.requests.messages import RefusedError
from tinker_actors.local.core.requests.opening import opened


def test_training_data_may_be_large_samples_less_and_all_else_small():
    limits = Limits()
    sizes = [bounds_of(f"/api/v1/{path}", limits).size for path in ("forward_backward", "asample?x=1", "create_model")]
    assert sizes == [limits.body_bytes, limits.sample_bytes, limits.call_bytes]
    assert sizes == sorted(sizes, reverse=True)
    assert bounds_of("/api/v1/asample", Limits(body_bytes=10)).size == 10


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        (b'{"a": [1, 2, 3]}', True),
        (b"[" + b"1," * 2_000_000 + b"1]", False),
        (b"[" + b"[],[" * 20_000 + b"]", False),
        (b'"' + b"x" * 3_000_000 + b'"', True),
    ],
)
def test_values_lists_and_objects_are_counted(body, fits):
    bounds = bounds_of("/api/v1/create_session", Limits())
    if fits:
        require_few(body, bounds)
        return
    with pytest.raises(RefusedError, match="several requests") as refusal:
        require_few(body, bounds)
    assert refusal.value.status == 413


def gradient(model, seq_id, count):
    """Return the body of a gradient of so many tokens, in examples that a context has room for."""
    tokens = [1] * 1000
    count //= len(tokens)
    datum = {
        "model_input": {"chunks": [{"tokens": tokens}]},
        "loss_fn_inputs": {"target_tokens": {"data": tokens, "dtype": "int64", "shape": [len(tokens)]}},
    }
    return {
        "model_id": model,
        "seq_id": seq_id,
        "forward_backward_input": {"data": [datum] * count, "loss_fn": "cross_entropy"},
    }


def test_a_large_body_read_before_gives_what_one_read_on_arrival_gives(driver):
    model = driver.model(driver.session())
    request = CoreRequest("POST", "/api/v1/forward_backward", {}, json.dumps(gradient(model, 1, 20_000)).encode())
    assert len(request.body) > SMALL_BYTES
    before = opened(request, driver.core.limits)
    assert before.ahead
    first = driver.core.handle(before, driver.now)
    assert first.status == 200
    assert driver.core.handle(request, driver.now) == first  # the same request: its number and digest say so


@pytest.mark.parametrize(
    "wrong", [{"loss_fn": None}, {"data": [{}] * 50_000}, {"loss_fn_config": {"a": [[]] * 500_000}}]
)
def test_a_refused_large_body_holds_its_number(driver, wrong):
    """So that what was sent behind it is not kept waiting."""
    model = driver.model(driver.session())
    body = gradient(model, 1, 20_000)
    body["forward_backward_input"].update(wrong)
    status, _ = driver.call("forward_backward", body)
    assert 400 <= status < 500
    step = driver.submit("optim_step", {"model_id": model, "seq_id": 2, "adam_params": {}})
    driver.work()
    assert driver.poll(step)
