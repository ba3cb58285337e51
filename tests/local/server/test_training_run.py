"""A whole training run over real sockets, in raw JSON."""

from __future__ import annotations

import pytest

TEXTS = (b"abcdefgh", b"zyxwvuts")


def test_a_pipelined_run_learns_saves_resumes_and_samples(wire, bodies):
    model = wire.create_model()
    assert model == f"{wire.session}:train:0"
    assert wire.good("get_info", {"model_id": model})["model_data"]["model_name"] == "local/tiny"

    losses = []
    for number in range(1, 61, 2):
        # The step goes out before the gradient it belongs to, as chunks of the official client may.
        stepped = wire.submit("optim_step", bodies.step(model, number + 1))
        passed = wire.submit("forward_backward", bodies.gradient(model, number, *TEXTS))
        losses.append(wire.result(passed)["metrics"]["loss:sum"])
        assert "grad_norm:mean" in wire.result(stepped)["metrics"]
    assert losses[-1] < losses[0] / 5

    saved = wire.do("save_weights", {"model_id": model, "seq_id": 61, "path": "done"})["path"]
    expected = wire.do("forward_backward", bodies.gradient(model, 62, *TEXTS))["metrics"]["loss:sum"]
    wire.do("optim_step", bodies.step(model, 63, rate=0.5))
    spoilt = wire.do("forward", forward(model, 64, bodies))["metrics"]["loss:sum"]
    assert spoilt != expected
    wire.do("load_weights", {"model_id": model, "seq_id": 65, "path": saved, "optimizer": True})
    assert wire.do("forward", forward(model, 66, bodies))["metrics"]["loss:sum"] == expected

    other = {"session_id": wire.session, "model_seq_id": 1, "path": saved, "optimizer": True}
    wire.do("load_weights", other)
    resumed = wire.do("forward", forward(f"{wire.session}:train:1", 1, bodies))
    assert resumed["metrics"]["loss:sum"] == expected

    ephemeral = wire.do("save_weights_for_sampler", {"model_id": model, "seq_id": 67, "sampling_session_seq_id": 0})
    assert ephemeral["path"] is None
    named = wire.do("save_weights_for_sampler", {"model_id": model, "seq_id": 68, "path": "s"})["path"]
    by_path = wire.create_sampler(1, model_path=named)
    for sampler in (ephemeral["sampling_session_id"], by_path):
        drawn = wire.do("asample", bodies.greedy(sampler, b"ab", seq_id=0))
        assert bytes(drawn["sequences"][0]["tokens"]) == b"cdefgh"
    assert wire.http.get(f"{wire.url}/api/v1/samplers/{by_path}", timeout=60).json()["model_path"] == named

    scored = wire.do(
        "asample",
        bodies.greedy(by_path, TEXTS[0], seq_id=1, prompt_logprobs=True, sampling_params={"max_tokens": 1}),
    )
    (passed, _) = resumed["loss_fn_outputs"]
    assert scored["prompt_logprobs"][0] is None
    assert scored["prompt_logprobs"][1:] == pytest.approx(passed["logprobs"]["data"], abs=1e-4)


def forward(model, seq_id, bodies):
    body = bodies.gradient(model, seq_id, *TEXTS)
    return {**body, "forward_input": body.pop("forward_backward_input")}


def test_the_same_run_gives_the_same_bits(wire, bodies):
    found = []
    for number in (5, 6):
        model = wire.create_model(number)
        for seq_id in (1, 3, 5):
            wire.submit("forward_backward", bodies.gradient(model, seq_id, *TEXTS))
            wire.submit("optim_step", bodies.step(model, seq_id + 1))
        last = wire.do("forward_backward", bodies.gradient(model, 7, *TEXTS))
        found.append((last["metrics"], last["loss_fn_outputs"]))
    assert found[0] == found[1]


def test_a_failed_gradient_keeps_the_step_behind_it_from_being_applied(wire, bodies):
    model = wire.create_model(7)
    before = wire.do("forward", forward(model, 1, bodies))["metrics"]
    bad = bodies.gradient(model, 2, b"ab")
    bad["forward_backward_input"]["data"][0]["loss_fn_inputs"]["target_tokens"]["data"] = [9999]
    failed, refused = wire.submit("forward_backward", bad), wire.submit("optim_step", bodies.step(model, 3))
    assert "9999" in wire.result(failed)["error"]
    assert wire.result(refused)["preceding_seq_id"] == 2
    assert wire.do("forward", forward(model, 4, bodies))["metrics"] == before


def test_several_targets_per_position_come_back_in_their_shape(wire, bodies):
    model = wire.create_model(8)
    columns = [b"bcd", b"xyz"]
    single = bodies.gradient(model, 1, *(b"a" + column for column in columns))
    for one, column in zip(single["forward_backward_input"]["data"], columns, strict=True):
        one["model_input"]["chunks"][0]["tokens"] = list(b"abc")
        one["loss_fn_inputs"]["target_tokens"]["data"] = list(column)
    body = {"model_id": model, "seq_id": 1, "forward_input": single["forward_backward_input"]}
    apart = [one["logprobs"]["data"] for one in wire.do("forward", body)["loss_fn_outputs"]]
    both = bodies.gradient(model, 2, b"abcd")
    weights = [1.0, 0.5, 0.0, 2.0, 1.0, 0.25]
    both["forward_backward_input"]["data"][0]["loss_fn_inputs"] = {
        "target_tokens": {"data": list(b"bxcydz"), "dtype": "int64", "shape": [3, 2]},
        "weights": {"data": weights, "dtype": "float32", "shape": [3, 2]},
    }
    result = wire.do("forward_backward", both)
    (output,) = result["loss_fn_outputs"]
    flat = [value for pair in zip(*apart, strict=True) for value in pair]
    assert output["logprobs"]["shape"] == [3, 2]
    assert output["logprobs"]["data"] == pytest.approx(flat, rel=1e-5)
    loss = -sum(weight * value for weight, value in zip(weights, flat, strict=True))
    assert result["metrics"]["loss:sum"] == pytest.approx(loss, rel=1e-5)


def test_a_long_sample_can_be_cancelled_while_it_is_drawn(wire, bodies):
    params = {"max_tokens": 2000, "stop": []}
    running = wire.submit(
        "asample", bodies.greedy(None, b"a", base_model="local/tiny", sampling_params=params, num_samples=16)
    )
    assert wire.good("cancel_future", {"request_id": running})["cancelled"] is True
    assert "cancelled" in wire.result(running)["error"]
    short = wire.submit("asample", bodies.greedy(None, b"a", base_model="local/tiny"))
    assert wire.result(short)["type"] == "sample"
