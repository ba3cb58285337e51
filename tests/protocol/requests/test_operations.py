"""Operations: head and tail together are the body the wire wants."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinker_actors.errors import InvalidInputError
from tinker_actors.protocol.requests import operations
from tinker_actors.protocol.requests.operations import head
from tinker_actors.types import AdamParams, Datum, ImageChunk, ModelInput, SamplingParams, TensorData, wire

PATH = "tinker://run:train:0/weights/c1"


def datum(*tokens: int) -> Datum:
    ids = list(tokens) or [1, 2, 3]
    return Datum(ModelInput.from_ints(ids), {"target_tokens": ids, "weights": [1.0] * len(ids)})


def body(tail: operations.Tail, **fields: object) -> dict:
    """Join a head and a tail as a lane does, and parse the result."""
    return json.loads(head(**(fields or {"model_id": "m", "seq_id": 3})) + tail.body)


def only(operation: operations.Operation) -> operations.Tail:
    (tail,) = operation.tails
    return tail


# ---------------------------------------------------------------- heads


def test_a_head_is_an_open_object_with_its_fields():
    assert head(model_id="s:train:0", seq_id=3) == b'{"model_id":"s:train:0","seq_id":3,'
    assert head(model_id="m", seq_id=3, sampling_session_seq_id=None) == b'{"model_id":"m","seq_id":3,'
    assert head() == b"{"


@settings(deadline=None)
@given(st.text(), st.integers(0, 10**18))
def test_any_id_survives_in_a_head(model_id, seq_id):
    parsed = body(operations.filler(), model_id=model_id, seq_id=seq_id)
    assert (parsed["model_id"], parsed["seq_id"]) == (model_id, seq_id)


TAILS = {
    "forward_backward": only(operations.forward_backward([datum()], "cross_entropy")),
    "forward": only(operations.forward_backward([datum()], "cross_entropy", forward_only=True)),
    "filler": operations.filler(5),
    "optim_step": only(operations.optim_step()),
    "save_weights": only(operations.save_weights("c1")),
    "load_weights": only(operations.load_weights(PATH, True)),
    "sampler": only(operations.save_weights_for_sampler("c1")),
    "ephemeral": only(operations.save_weights_for_sampler()),
    "sample": operations.sample(ModelInput.from_ints([1])),
}


@pytest.mark.parametrize("kind", TAILS)
@pytest.mark.parametrize("fields", [{}, {"model_id": "m"}, {"model_id": 'q"\\\n', "seq_id": 2**40}])
def test_every_kind_of_tail_completes_every_head(kind, fields):
    parsed = json.loads(head(**fields) + TAILS[kind].body)
    assert fields.items() <= parsed.items()
    assert len(parsed) > len(fields)
    assert None not in parsed.values()


@pytest.mark.parametrize(
    ("kind", "path", "request_type"),
    [
        ("forward_backward", "/api/v1/forward_backward", "ForwardBackward"),
        ("forward", "/api/v1/forward", "Forward"),
        ("filler", "/api/v1/forward", "Forward"),
        ("optim_step", "/api/v1/optim_step", "OptimStep"),
        ("save_weights", "/api/v1/save_weights", "SaveWeights"),
        ("load_weights", "/api/v1/load_weights", "LoadWeights"),
        ("sampler", "/api/v1/save_weights_for_sampler", "SaveWeightsForSampler"),
        ("ephemeral", "/api/v1/save_weights_for_sampler", "SaveWeightsForSampler"),
        ("sample", "/api/v1/asample", "Sample"),
    ],
)
def test_each_kind_knows_its_endpoint(kind, path, request_type):
    tail = TAILS[kind]
    assert (tail.path, tail.request_type, tail.content_type) == (path, request_type, "application/json")
    assert tail.weight > 0


@pytest.mark.parametrize(
    ("kind", "struct"),
    [
        ("forward_backward", wire.ForwardBackwardRequest),
        ("forward", wire.ForwardRequest),
        ("filler", wire.ForwardRequest),
        ("optim_step", wire.OptimStepRequest),
        ("save_weights", wire.SaveWeightsRequest),
        ("load_weights", wire.LoadWeightsRequest),
        ("sampler", wire.SaveWeightsForSamplerRequest),
        ("ephemeral", wire.SaveWeightsForSamplerRequest),
        ("sample", wire.SampleRequest),
    ],
)
def test_the_server_side_types_read_every_kind(kind, struct):
    decoded = msgspec.json.decode(head(model_id="m", seq_id=3) + TAILS[kind].body, type=struct)
    assert decoded.seq_id == 3


# ---------------------------------------------------------------- training data


def test_a_gradient_operation_is_the_official_body():
    example = Datum(
        ModelInput.from_ints([1, 2]),
        {"target_tokens": [2, 3], "weights": np.array([1.0, 0.5], dtype=np.float64)},
    )
    operation = operations.forward_backward([example], "cross_entropy", {"x": 1, "name": "t"})
    assert (operation.name, operation.gradient, operation.step, operation.restores) == (
        "forward_backward", True, False, False,
    )  # fmt: skip
    assert body(only(operation)) == {
        "model_id": "m",
        "seq_id": 3,
        "forward_backward_input": {
            "data": [
                {
                    "model_input": {"chunks": [{"type": "encoded_text", "tokens": [1, 2]}]},
                    "loss_fn_inputs": {
                        "target_tokens": {"data": [2, 3], "dtype": "int64", "shape": [2]},
                        "weights": {"data": [1.0, 0.5], "dtype": "float32", "shape": [2]},
                    },
                }
            ],
            "loss_fn": "cross_entropy",
            "loss_fn_config": {"x": 1.0, "name": "t"},
        },
    }


def test_a_forward_goes_to_its_own_endpoint_without_a_gradient():
    operation = operations.forward_backward([datum()], "cross_entropy", forward_only=True)
    assert (operation.name, operation.gradient) == ("forward", False)
    assert set(body(only(operation))) == {"model_id", "seq_id", "forward_input"}
    assert "loss_fn_config" not in body(only(operation))["forward_input"]


def test_a_batch_is_cut_in_order_and_weighs_its_data():
    data = [datum(i, i) for i in range(5)]
    operation = operations.forward_backward(data, "cross_entropy", max_chunk_len=2)
    firsts = [
        [d["model_input"]["chunks"][0]["tokens"][0] for d in body(tail)["forward_backward_input"]["data"]]
        for tail in operation.tails
    ]
    assert firsts == [[0, 1], [2, 3], [4]]
    assert [tail.weight for tail in operation.tails] == [120, 120, 60]
    assert len(operations.forward_backward(data, "cross_entropy", max_chunk_bytes=130).tails) == 3


def test_later_changes_to_the_data_change_nothing():
    tokens = [1, 2, 3]
    targets = np.array([4, 5, 6])
    example = Datum(ModelInput.from_ints(tokens), {"target_tokens": targets})
    operation = operations.forward_backward([example], "cross_entropy")
    before = only(operation).body
    targets[0] = 99
    example.loss_fn_inputs.clear()
    tokens.clear()
    assert only(operation).body == before
    assert b"99" not in before


def test_images_and_sparse_tensors_have_their_json_form():
    sparse = TensorData([7, 8], "int64", [2, 3], sparse_crow_indices=[0, 1, 2], sparse_col_indices=[0, 2])
    example = Datum(
        ModelInput([ImageChunk(b"png!", "png", expected_tokens=1)]).append_int(5), {"target_tokens": sparse}
    )
    parsed = body(only(operations.forward_backward([example], "cross_entropy")))["forward_backward_input"]["data"][0]
    assert parsed["model_input"]["chunks"][0] == {
        "type": "image", "format": "png", "data": "cG5nIQ==", "expected_tokens": 1,
    }  # fmt: skip
    assert parsed["loss_fn_inputs"]["target_tokens"] == {
        "data": [7, 8],
        "dtype": "int64",
        "shape": [2, 3],
        "sparse_crow_indices": [0, 1, 2],
        "sparse_col_indices": [0, 2],
    }


def test_float32_values_arrive_bit_for_bit():
    values = np.array([0.1, 1e-45, -3.4e38, 1 / 3], dtype=np.float32)
    example = Datum(ModelInput.from_ints([1, 2, 3, 4]), {"target_tokens": [1, 2, 3, 4], "weights": values})
    parsed = body(only(operations.forward_backward([example], "cross_entropy")))
    sent = parsed["forward_backward_input"]["data"][0]["loss_fn_inputs"]["weights"]["data"]
    assert np.array(sent, dtype=np.float32).tobytes() == values.tobytes()


def test_the_filler_is_one_token_of_the_data_without_weight():
    operation = operations.forward_backward([datum(42, 7), datum(9)], "cross_entropy")
    assert operation.token == 42
    (only_datum,) = body(operations.filler(operation.token))["forward_input"]["data"]
    assert only_datum["model_input"]["chunks"] == [{"type": "encoded_text", "tokens": [42]}]
    assert only_datum["loss_fn_inputs"]["target_tokens"]["data"] == [42]
    assert only_datum["loss_fn_inputs"]["weights"]["data"] == [0.0]


def test_data_that_start_with_an_image_have_a_filler_too():
    example = Datum(ModelInput([ImageChunk(b"x", "png")]), {"target_tokens": [1]})
    assert operations.forward_backward([example], "cross_entropy").token == 0


# ---------------------------------------------------------------- steps and checkpoints


@pytest.mark.parametrize(
    ("params", "rate"),
    [
        (None, 1e-4),
        (AdamParams(), 1e-4),
        ({}, 1e-4),
        (AdamParams(learning_rate=np.float32(0.5), beta1=0), 0.5),
        ({"learning_rate": 0.5}, 0.5),
    ],
)
def test_a_step_sends_every_parameter_as_a_number(params, rate):
    operation = operations.optim_step(params)
    assert (operation.name, operation.step, operation.gradient) == ("optim_step", True, False)
    parsed = body(only(operation))
    assert parsed["type"] == "optim_step"
    assert set(parsed["adam_params"]) == set(AdamParams.__struct_fields__)
    assert parsed["adam_params"]["learning_rate"] == rate


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"learning_rate": float("nan")}, "adam_params.learning_rate is nan; it must be finite"),
        ({"eps": float("inf")}, "adam_params.eps is inf"),
        ({"learning_rate": -1e-3}, "adam_params.learning_rate is -0.001; it must be at least 0"),
        ({"beta2": 1.0}, "adam_params.beta2 is 1.0; it must be at least 0 and below 1"),
        ({"lr": 1.0}, "adam_params has no 'lr'; it has learning_rate, beta1"),
        ({"learning_rate": "0.1"}, "adam_params.learning_rate is '0.1'; it must be a number"),
        ({"learning_rate": True}, "it must be a number"),
        (AdamParams(grad_clip_norm=-1), "adam_params.grad_clip_norm is -1.0"),
        (1e-4, "adam_params is a float, not AdamParams or a dict"),
    ],
)
def test_a_step_that_can_not_be_right_is_refused(params, message):
    with pytest.raises(InvalidInputError) as caught:
        operations.optim_step(params)
    assert message in str(caught.value)


def test_checkpoint_requests_carry_what_was_given():
    assert body(only(operations.save_weights("c1", 3600, True, {"k": 1}))) == {
        "model_id": "m", "seq_id": 3, "path": "c1", "ttl_seconds": 3600, "overwrite": True, "user_metadata": {"k": 1},
        "type": "save_weights",
    }  # fmt: skip
    assert body(only(operations.save_weights("c1"))) == {
        "model_id": "m", "seq_id": 3, "path": "c1", "overwrite": False, "type": "save_weights",
    }  # fmt: skip
    assert body(only(operations.save_weights_for_sampler("s", "snapshot", 7200, {"a": "b"}))) == {
        "model_id": "m", "seq_id": 3, "path": "s", "ttl_seconds": 7200, "user_metadata": {"a": "b"},
        "kind": "snapshot", "type": "save_weights_for_sampler",
    }  # fmt: skip
    ephemeral = only(operations.save_weights_for_sampler(kind="inflight"))
    assert body(ephemeral, model_id="m", seq_id=3, sampling_session_seq_id=0) == {
        "model_id": "m", "seq_id": 3, "sampling_session_seq_id": 0, "kind": "inflight",
        "type": "save_weights_for_sampler",
    }  # fmt: skip


def test_loading_restores():
    operation = operations.load_weights(PATH, True, "token")
    assert operation.restores
    assert body(only(operation)) == {
        "model_id": "m", "seq_id": 3, "path": PATH, "optimizer": True, "weights_access_token": "token",
        "type": "load_weights",
    }  # fmt: skip
    assert not operations.save_weights("x").restores


@pytest.mark.parametrize("save", [operations.save_weights, operations.save_weights_for_sampler])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": ""}, "needs a name"),
        ({"name": "  "}, "needs a name"),
        ({"name": 7}, "needs a name, got 7"),
        ({"name": "a/b"}, "'a/b' can't be a checkpoint's name"),
        ({"name": PATH}, "the server makes tinker://"),
        ({"name": "c", "ttl_seconds": 3_599}, "ttl_seconds is 3599; it must be between 3600 and"),
        ({"name": "c", "ttl_seconds": 11 * 366 * 86_400}, "it must be between"),
        ({"name": "c", "ttl_seconds": 1.5e4}, "must be an integer"),
        ({"name": "c", "user_metadata": {"f": object()}}, "no JSON form"),
    ],
)
def test_checkpoint_arguments_that_can_not_be_right_are_refused(save, arguments, message):
    with pytest.raises(InvalidInputError) as caught:
        save(**arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [{"kind": "frozen"}, {"ttl_seconds": 3600}, {"user_metadata": {}}, {"kind": "inflight", "ttl_seconds": 1}],
)
def test_a_sampler_without_a_name_keeps_nothing(arguments):
    with pytest.raises(InvalidInputError):
        operations.save_weights_for_sampler(None, **arguments)


@pytest.mark.parametrize("path", ["c1", "", "weights/c1", "http://x/weights/c1"])
def test_a_path_without_its_scheme_is_refused(path):
    with pytest.raises(InvalidInputError, match="tinker://"):
        operations.load_weights(path, False)


# ---------------------------------------------------------------- samples


def test_a_sample_is_the_official_body():
    tail = operations.sample(ModelInput.from_ints([1, 2, 3]), 1, SamplingParams(max_tokens=4), True, 2)
    assert body(tail, sampling_session_id="s", seq_id=0) == {
        "sampling_session_id": "s",
        "seq_id": 0,
        "num_samples": 1,
        "prompt": {"chunks": [{"tokens": [1, 2, 3], "type": "encoded_text"}]},
        "sampling_params": {"max_tokens": 4, "temperature": 1.0, "top_k": -1, "top_p": 1.0},
        "prompt_logprobs": True,
        "topk_prompt_logprobs": 2,
        "type": "sample",
    }
    assert tail.weight == 30


def test_a_prompt_of_numpy_tokens_is_the_same_sample():
    arrays = operations.sample(ModelInput.from_ints(np.array([1, 2, 3], dtype=np.uint16)))
    scalars = operations.sample(ModelInput.from_ints(list(np.array([1, 2, 3]))))
    assert arrays.body == scalars.body == operations.sample(ModelInput.from_ints([1, 2, 3])).body
