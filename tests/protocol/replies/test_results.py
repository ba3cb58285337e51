"""Decoding of results, servers' deviations included."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest

from tinker_actors.errors import APIResponseValidationError
from tinker_actors.protocol.codec.protobuf import serving
from tinker_actors.protocol.replies import plain, results
from tinker_actors.protocol.replies.sample_results import sample_response
from tinker_actors.types import SampledSequence

JSON = "application/json"

DECODERS = [
    results.forward_backward_output,
    results.optim_step_response,
    results.save_weights_response,
    results.load_weights_response,
    results.save_for_sampler_response,
    plain.weights_info_response,
    plain.create_sampling_session_response,
    plain.get_sampler_response,
    plain.client_config_response,
    plain.create_session_response,
    results.create_model_response,
    plain.get_info_response,
    plain.capabilities_response,
    lambda content_type, body: sample_response(content_type, body, 3),
]


def js(value) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("body", [b"", b"[]", b'"x"', b'{"a":', b"\xff\xfe", b"12 monkeys"])
def test_what_is_not_understood_is_an_error_with_a_preview(decoder, body):
    with pytest.raises(APIResponseValidationError) as caught:
        decoder(JSON, body)
    assert caught.value.category == "server"
    assert "begins with" in str(caught.value)


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/problem+json", "Text/JSON; x=y", "text/html"])
def test_json_is_read_whatever_it_is_called(content_type):
    assert results.optim_step_response(content_type, b'{"metrics":{"a":1}}').metrics == {"a": 1.0}


def test_what_is_no_json_says_what_it_was_called():
    with pytest.raises(APIResponseValidationError, match="image/png"):
        results.optim_step_response("image/png", b"\x89PNG")


@pytest.mark.parametrize(
    ("decoder", "body"),
    [
        (results.save_weights_response, {"path": None}),
        (results.save_weights_response, {}),
        (results.save_for_sampler_response, {"path": None}),
        (results.create_model_response, {"model_id": 7}),
        (plain.get_info_response, {"model_data": {}}),
        (results.forward_backward_output, {"metrics": {}}),
        (plain.create_session_response, {"type": "create_session"}),
        (plain.capabilities_response, {"models": []}),
    ],
)
def test_a_result_without_what_it_is_for_is_an_error(decoder, body):
    with pytest.raises(APIResponseValidationError):
        decoder(JSON, js(body))


# ---------------------------------------------------------------- training


def test_outputs_become_tensors():
    output = results.forward_backward_output(
        JSON,
        js(
            {
                "type": "forward_backward",
                "loss_fn_output_type": "TorchLossReturn",
                "loss_fn_outputs": [
                    {"logprobs": {"data": [-1, -2.5], "dtype": "float32", "shape": [2]}},
                    {"logprobs": {"data": [-1.5]}, "ids": {"data": [1, 2], "dtype": "int64", "shape": [2, 1]}},
                ],
                "metrics": {"loss:sum": 3, "bad:mean": None},
                "later": 1,
            }
        ),
    )
    assert output.loss_fn_output_type == "TorchLossReturn"
    first, second = output.loss_fn_outputs
    np.testing.assert_array_equal(first["logprobs"].to_numpy(), np.array([-1, -2.5], dtype=np.float32))
    assert (second["logprobs"].dtype, second["logprobs"].shape) == ("float32", [1])
    assert second["ids"].to_numpy().dtype == np.int64
    assert second["ids"].tolist() == [[1], [2]]
    assert output.metrics["loss:sum"] == 3.0
    assert math.isnan(output.metrics["bad:mean"])


def test_nulls_in_a_tensor_are_nan():
    body = js({"loss_fn_outputs": [{"logprobs": {"data": [None, -1.0]}}]})
    values = results.forward_backward_output(JSON, body).loss_fn_outputs[0]["logprobs"].to_numpy()
    assert np.isnan(values[0])
    assert values[1] == -1.0


@pytest.mark.parametrize("extra", [{}, {"metrics": None}, {"metrics": {}}, {"loss_fn_output_type": None}])
def test_missing_metrics_and_type_are_tolerated(extra):
    output = results.forward_backward_output(JSON, js({"loss_fn_outputs": [], **extra}))
    assert (output.loss_fn_output_type, output.loss_fn_outputs, output.metrics) == ("ArrayRecord", [], {})


@pytest.mark.parametrize(
    "tensor",
    [
        {"data": [1.0], "shape": [2]},
        {"data": [1.0], "dtype": "float16"},
        {"data": [None], "dtype": "int64"},
        {"data": [1.0], "sparse_crow_indices": [0, 1]},
        {"data": ["a"]},
        {"shape": [1]},
        [1.0],
        None,
    ],
)
def test_a_tensor_that_can_not_be_is_the_servers_error(tensor):
    with pytest.raises(APIResponseValidationError, match="forward_backward result"):
        results.forward_backward_output(JSON, js({"loss_fn_outputs": [{"logprobs": tensor}]}))


def test_the_answers_of_training_operations_are_read():
    assert results.optim_step_response(JSON, b'{"type":"optim_step"}').metrics is None
    assert results.optim_step_response(JSON, b'{"metrics":null,"type":"optim_step"}').metrics is None
    assert math.isnan(results.optim_step_response(JSON, b'{"metrics":{"grad":null}}').metrics["grad"])
    path = "tinker://m/weights/c"
    assert results.save_weights_response(JSON, js({"path": path, "type": "save_weights"})).path == path
    assert results.load_weights_response(JSON, b'{"type":"load_weights"}').path is None
    assert results.create_model_response(JSON, js({"model_id": "m", "lora_config": {"alpha": 32.0}})).model_id == "m"
    named = results.save_for_sampler_response(JSON, js({"path": "tinker://m/c"}))
    assert (named.path, named.sampling_session_id) == ("tinker://m/c", None)
    unnamed = results.save_for_sampler_response(JSON, js({"path": None, "sampling_session_id": "s"}))
    assert (unnamed.path, unnamed.sampling_session_id) == (None, "s")


# ---------------------------------------------------------------- protobuf


def test_results_in_protobuf_are_read_as_such():
    outputs = [{"logprobs": np.array([-1.0, -2.0], np.float32)}]
    body = serving.encode_forward_backward_output(outputs, {"loss:sum": 3.0})
    output = results.forward_backward_output("application/x-protobuf", body)
    assert output.metrics == {"loss:sum": 3.0}
    assert output.loss_fn_outputs[0]["logprobs"].tolist() == [-1.0, -2.0]
    body = serving.encode_sample_response([SampledSequence("length", [5, 6], [-0.5, -1.0])], [None, -1.0])
    sample = sample_response("application/x-protobuf; v=1", body, 2, 7, ["name"])
    assert sample.prompt_logprobs == [None, -1.0]
    assert (sample.sequences[0].tokens, sample.sequences[0].sequence_id, sample.weights_version) == ([5, 6], "name", 7)


@pytest.mark.parametrize(
    "decoder", [results.forward_backward_output, lambda kind, body: sample_response(kind, body, 1)]
)
def test_what_is_no_protobuf_is_an_error_with_a_preview(decoder):
    with pytest.raises(APIResponseValidationError, match=r"begins with '{}'"):
        decoder("application/x-protobuf", b"{}")


def test_results_in_json_load_no_protobuf():
    code = """if True:
        import sys
        from tinker_actors.protocol.replies.sample_results import sample_response
        sample_response("application/json", b'{"sequences":[{"stop_reason":"stop","tokens":[]}]}', 1)
        print("google.protobuf" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
