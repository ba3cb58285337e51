"""Requests: what the router, the reader and the limits do with them."""

from __future__ import annotations

import json

import pytest

from tinker_actors.local.core import CoreRequest, Limits


def test_the_server_says_what_it_is(driver):
    assert driver.good("healthz", method="GET") == {"status": "ok"}
    (model,) = driver.good("get_server_capabilities", method="GET")["supported_models"]
    assert model == {
        "model_name": "local/ledger",
        "max_context_length": 4096,
        "trainable": True,
        "sampleable": True,
    }
    config = driver.good("client/config", {"sdk_version": "0.38.0"})
    assert config["use_pyqwest_transport"] is False
    assert config["discards_gradients"] is True
    assert driver.call("client/dynamic_config", {"sdk_version": "0.38.0"})[0] == 200
    assert driver.good("telemetry", {"events": []}) == {"status": "accepted"}


def test_a_model_is_described(driver):
    said = driver.good("get_info", {"model_id": driver.model(), "type": "get_info"})
    assert said["model_data"] == {
        "arch": "ledger",
        "model_name": "local/ledger",
        "tokenizer_id": "local/ledger",
    }
    assert (said["is_lora"], said["lora_rank"]) == (True, 4)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "nothing", 404),
        ("POST", "sessions/a/b/finish", 404),
        ("GET", "create_model", 405),
        ("PUT", "healthz", 405),
    ],
)
def test_paths_and_methods_that_are_not_there(driver, method, path, status):
    answer = driver.raw(path, method=method)
    assert answer.status == status
    assert isinstance(json.loads(answer.body)["detail"], str)


def test_ids_in_paths_may_be_percent_encoded_and_queries_are_ignored(driver):
    sampler = driver.sampler()
    assert driver.good(f"samplers/{sampler.replace(':', '%3A')}?x=1", method="GET")["sampler_id"] == sampler


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 30_000, b"{}x"])
def test_what_is_no_json_is_400(driver, body):
    answer = driver.raw("create_model", body)
    assert answer.status == 400
    assert "not valid JSON" in json.loads(answer.body)["detail"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("create_model", {"session_id": 5, "model_seq_id": 0, "base_model": "x"}),
        ("create_model", {"session_id": "s", "base_model": "x"}),
        ("create_model", {"session_id": "s", "model_seq_id": 0, "base_model": "x", "lora_config": {"rank": 0}}),
        ("create_model", {"session_id": "s", "model_seq_id": 0, "base_model": "x", "type": "other"}),
        ("asample", {"prompt": {"chunks": [{"tokens": ["a"]}]}, "sampling_params": {}}),
        ("optim_step", {"model_id": "m", "seq_id": "1", "adam_params": {}}),
        ("retrieve_future", []),
    ],
)
def test_json_of_the_wrong_shape_is_422(driver, path, body):
    assert driver.call(path, body)[0] == 422


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("optim_step", {"content-type": "application/x-protobuf"}),
        ("forward", {"content-type": "application/x-protobuf"}),
        ("forward_backward", {"content-encoding": "gzip"}),
    ],
)
def test_bodies_in_another_dialect_are_415(driver, path, headers):
    assert driver.core.handle(CoreRequest("POST", f"/api/v1/{path}", headers, b"x"), 0.0).status == 415


def test_a_body_above_the_limit_is_413(make_driver):
    driver = make_driver(Limits(body_bytes=100))
    assert driver.raw("create_session", b" " * 101).status == 413
    assert driver.raw("create_session", b"{}" + b" " * 98).status == 200


def test_an_unknown_base_model_is_refused_with_those_there_are(driver):
    session = driver.session()
    for path, body in (
        ("create_model", {"session_id": session, "model_seq_id": 0, "base_model": "no/such"}),
        ("create_sampling_session", {"session_id": session, "sampling_session_seq_id": 0, "base_model": "no/such"}),
    ):
        status, said = driver.call(path, body)
        assert status == 400
        assert "'no/such'" in said["detail"]
        assert "local/ledger" in said["detail"]
    assert driver.model(session, 0), "the number is still free"


def test_only_the_optimizer_there_is_can_be_asked_for(driver):
    body = {"session_id": driver.session(), "model_seq_id": 0, "base_model": "local/ledger"}
    assert driver.call("create_model", {**body, "optimizer_config": {"type": "dimuon", "version": 1}})[0] == 400
    assert driver.call("create_model", {**body, "lora_config": {"rank": 5000}})[0] == 400
    assert driver.call("create_model", {**body, "optimizer_config": {"type": "adamw"}})[0] == 200


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda b: b.datum([1, 2], target_tokens={"data": [1], "dtype": "int64"}), "target_tokens has shape [1], but"),
        (lambda b: b.datum([1, 2], target_tokens=None), "lacks target_tokens"),
        (lambda b: b.datum([1, 2], target_tokens={"data": [1.0, 2.0], "dtype": "float32"}), "must be int64"),
        (lambda b: b.datum([1, 2], target_tokens={"data": [1, 5000], "dtype": "int64"}), "token 5000"),
        (lambda b: b.datum([1, 2], target_tokens={"data": [1, -1], "dtype": "int64"}), "token -1"),
        (lambda b: b.datum([1, 2], target_tokens={"data": [1, 2], "dtype": "int32"}), "dtype"),
        (lambda b: b.datum([1, 2], weights={"data": [1.0], "dtype": "float32"}), "weights has shape [1]"),
        (
            lambda b: b.datum([1, 2], weights={"data": [1.0, None], "dtype": "float32"}),
            "weights: data[1] is None; it must be a number",
        ),
        (
            lambda b: b.datum([1, 2], weights={"data": [1.0, 1e39], "dtype": "float32"}),
            "weights: data[1] is 1e+39; float32 ends at 3.4e38",
        ),
        (lambda b: b.datum([1, 2], weights={"data": [1.0] * 3, "shape": [2, 2]}), "3 values, but shape [2, 2]"),
        (lambda b: b.datum([]), "no tokens"),
        (lambda b: b.datum([2**63 + 1]), "too large"),
        (
            lambda b: b.datum(
                [1, 2],
                weights={"data": [1.0], "sparse_crow_indices": [0, 1], "sparse_col_indices": [9], "shape": [1, 2]},
            ),
            "weights",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_a_datum_that_can_not_be_is_a_failed_future_of_the_users(driver, bodies, make, words):
    model = driver.model()
    request_id = driver.submit("forward_backward", bodies.forward_backward(model, 1, bodies.datum(), make(bodies)))
    driver.work()
    said = driver.result(request_id)
    assert said["category"] == "user"
    assert said["error"].startswith("datum 1: ")
    assert words in said["error"]


def test_a_datum_that_is_longer_than_the_context_is_refused_at_once(driver, bodies):
    model = driver.model()
    body = bodies.forward_backward(model, 1, bodies.datum(), bodies.datum([1] * 5000))
    status, said = driver.call("forward_backward", body)
    assert status == 400
    assert said["detail"] == "datum 1: model_input has 5000 tokens, but the model's context is 4096."
    after = driver.submit("forward_backward", bodies.forward_backward(model, 2))
    driver.work()
    assert driver.result(after)["metrics"]


def test_sparse_tensors_are_filled_up(driver, bodies):
    sparse = {
        "data": [7, 8],
        "dtype": "int64",
        "shape": [2, 2],
        "sparse_crow_indices": [0, 1, 2],
        "sparse_col_indices": [0, 1],
    }
    dense = {"data": [7, 0, 0, 8], "dtype": "int64", "shape": [2, 2]}
    losses = []
    for targets in (sparse, dense):
        model = driver.model()
        data = bodies.datum([1, 2], target_tokens=targets, weights=None)
        request_id = driver.submit("forward_backward", bodies.forward_backward(model, 1, data))
        driver.work()
        (output,) = driver.result(request_id)["loss_fn_outputs"]
        assert output["logprobs"]["shape"] == [2, 2]
        losses.append(driver.result(request_id)["metrics"]["loss:sum"])
    assert losses[0] == losses[1]


def test_a_pass_has_one_output_per_datum_and_metrics_with_one_colon(driver, bodies):
    model = driver.model()
    request_id = driver.submit(
        "forward_backward", bodies.forward_backward(model, 1, bodies.datum([1]), bodies.datum([1, 2, 3]))
    )
    driver.work()
    said = driver.result(request_id)
    assert [output["logprobs"]["shape"] for output in said["loss_fn_outputs"]] == [[1], [3]]
    assert said["loss_fn_outputs"][1]["logprobs"]["dtype"] == "float32"
    assert "loss:sum" in said["metrics"]
    assert all(name.count(":") == 1 for name in said["metrics"])


def test_requests_with_too_much_or_too_little_data_are_refused(make_driver, bodies):
    driver = make_driver(Limits(datums_per_request=2))
    model = driver.model()
    status, said = driver.call("forward_backward", bodies.forward_backward(model, 1, *[bodies.datum()] * 3))
    assert status == 400
    assert "3 datums" in said["detail"]
    assert "at most 2" in said["detail"]
    empty = {"model_id": model, "seq_id": 2, "forward_backward_input": {"data": [], "loss_fn": "ppo"}}
    assert driver.call("forward_backward", empty)[0] == 400


def test_a_model_with_a_full_line_asks_to_slow_down_but_lets_in_what_all_wait_for(make_driver, bodies):
    driver = make_driver(Limits(queued_per_model=2))
    model = driver.model()
    for number in (2, 3):
        driver.submit("forward_backward", bodies.forward_backward(model, number))
    assert driver.call("optim_step", bodies.optim_step(model, 4))[0] == 429
    driver.submit("forward_backward", bodies.forward_backward(model, 1))
    driver.work()
    assert driver.call("optim_step", bodies.optim_step(model, 4))[0] == 200


@pytest.mark.parametrize("seq_id", [0, -1])
def test_numbers_start_at_one(driver, bodies, seq_id):
    assert driver.call("optim_step", bodies.optim_step(driver.model(), seq_id))[0] == 422


def test_the_oldest_clients_bodies_are_understood(driver):
    """As captured from SDK 0.15: only what was set, nulls kept, hardly any `type` (wire protocol 8.1)."""
    created = driver.good(
        "create_session", {"tags": ["b", "a"], "user_metadata": {"k": "v"}, "sdk_version": "0.15.0", "project_id": None}
    )
    session = created["session_id"]
    lora = {"rank": 8, "seed": 1, "train_unembed": True, "train_mlp": True, "train_attn": True}
    driver.submit(
        "create_model",
        {
            "session_id": session,
            "model_seq_id": 0,
            "base_model": "local/ledger",
            "user_metadata": None,
            "lora_config": lora,
        },
    )
    model = f"{session}:train:0"
    data = [
        {
            "loss_fn_inputs": {
                "target_tokens": {"data": [2, 3], "dtype": "int64", "shape": [2]},
                "weights": {"data": [1.0, 1.0], "dtype": "float32", "shape": None},
            },
            "model_input": {"chunks": [{"tokens": [1, 2]}]},
        }
    ]
    given = {"data": data, "loss_fn": "cross_entropy", "loss_fn_config": None}
    wanted = [
        ("forward_backward", {"forward_backward_input": given, "model_id": model, "seq_id": 1}),
        ("optim_step", {"adam_params": {"learning_rate": 0.001}, "model_id": model, "seq_id": 2}),
        ("forward", {"forward_input": given, "model_id": model, "seq_id": 3}),
        ("save_weights", {"model_id": model, "path": "c1", "seq_id": 4, "ttl_seconds": None}),
        ("load_weights", {"model_id": model, "path": f"tinker://{model}/weights/c1", "optimizer": False, "seq_id": 5}),
        (
            "save_weights_for_sampler",
            {"model_id": model, "sampling_session_seq_id": 0, "seq_id": 6, "ttl_seconds": None, "path": None},
        ),
    ]
    ids = [driver.submit(path, body) for path, body in wanted]
    driver.work()
    results = [driver.result(one) for one in ids]
    assert [result["type"] for result in results] == [path for path, _ in wanted]
    assert results[-1]["path"] is None
    sampler = driver.good(
        "create_sampling_session",
        {"session_id": session, "sampling_session_seq_id": 1, "base_model": "local/ledger", "model_path": None},
    )["sampling_session_id"]
    said = driver.good(
        "asample",
        {
            "num_samples": 1,
            "prompt": {"chunks": [{"tokens": [1, 2, 3]}]},
            "sampling_params": {"max_tokens": 4},
            "sampling_session_id": sampler,
            "seq_id": 0,
            "prompt_logprobs": True,
            "topk_prompt_logprobs": 2,
        },
    )
    driver.work()
    assert len(driver.result(said["request_id"])["prompt_logprobs"]) == 3


def test_nulls_everywhere_mean_not_set(driver, bodies):
    model = driver.model()
    adam = dict.fromkeys(("learning_rate", "beta1", "beta2", "eps", "weight_decay", "grad_clip_norm"))
    one = driver.submit("optim_step", {"type": None, "model_id": model, "seq_id": 1, "adam_params": adam})
    other = driver.model()
    two = driver.submit("optim_step", {"model_id": other, "seq_id": 1, "adam_params": {}})
    driver.work()
    assert driver.result(one)["metrics"]["weights:unique"] == driver.result(two)["metrics"]["weights:unique"]
    nulls = dict.fromkeys(("max_tokens", "seed", "stop", "temperature", "top_k", "top_p"))
    body = bodies.sample(
        driver.sampler(),
        num_samples=None,
        sampling_params=nulls,
        type=None,
        base_model=None,
        model_path=None,
        prompt_logprobs=None,
        topk_prompt_logprobs=None,
        record_stability_info=None,
        prompt={"chunks": [{"type": None, "tokens": [1], "data": None, "location": None}]},
    )
    drawn = driver.submit("asample", body)
    driver.work()
    assert driver.result(drawn)["type"] == "sample"


@pytest.mark.parametrize("number", [2**64, 10**300, -(2**63) - 1])
def test_an_integer_beyond_64_bits_is_refused_wherever_it_is_and_its_place_is_told(driver, number):
    body = {"tags": [], "sdk_version": "0", "user_metadata": {"a": [1, {"b": number}]}}
    assert driver.call("create_session", body) == (
        422,
        {"detail": "The integer at $.user_metadata.a[1].b does not fit in 64 bits."},
    )
    for fine in (2**64 - 1, -(2**63), float(10**19), str(number), 0.12345678901234567890123):
        body["user_metadata"]["a"][1]["b"] = fine
        assert driver.call("create_session", body)[0] == 200
