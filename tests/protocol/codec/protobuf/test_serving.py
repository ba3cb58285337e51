"""The server's side: requests become what JSON ones become, results are what a client understands."""

from __future__ import annotations

import math
import random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinker_actors.protocol.codec.protobuf.requests import encode_forward_backward_tail, head
from tinker_actors.protocol.codec.protobuf.schema import BFLOAT16, FLOAT32, INT32, messages
from tinker_actors.protocol.codec.protobuf.serving import (
    decode_forward_backward_request,
    encode_forward_backward_output,
    encode_sample_response,
)
from tinker_actors.protocol.replies.protobuf_results import forward_backward_output, sample_response
from tinker_actors.protocol.requests import operations
from tinker_actors.types import Datum, EncodedTextChunk, ImageChunk, ModelInput, SampledSequence, TensorData
from tinker_actors.types.wire import ForwardBackwardRequest, ForwardRequest


def text(tokens, **inputs):
    return Datum(ModelInput.from_ints(tokens), inputs)


BATCHES = {
    "dense": [text([1, 2], target_tokens=[2, 3], weights=[1, 0.5]), text(np.array([9]), target_tokens=[4])],
    "two dimensions": [text([1, 2], target_tokens=np.array([[1, 2], [3, 4]]), weights=np.ones((2, 2)))],
    "sparse": [text([1, 2], target_tokens=[2, 3], weights=TensorData([0.5], "float32", [2, 3], [0, 0, 1], [2]))],
    "images": [Datum(ModelInput([EncodedTextChunk([1]), ImageChunk(b"\x89P", "png", 3), ImageChunk(b"J", "jpeg")]))],
}


def plain(value):
    return msgspec.to_builtins(value, enc_hook=lambda array: array.tolist())


def decoded(data, loss_fn="cross_entropy", config=None, *, forward_only=False):
    tail = encode_forward_backward_tail(data, loss_fn, config, forward_only=forward_only)
    return decode_forward_backward_request(head("m", 3) + tail)


@pytest.mark.parametrize("forward_only", [False, True])
@pytest.mark.parametrize("batch", BATCHES)
def test_a_request_becomes_what_the_same_one_in_json_becomes(batch, forward_only, monkeypatch):
    monkeypatch.setattr(operations, "check_batch", lambda *_, **__: None)
    config = {"clip_low_threshold": 0.5}
    (tail,) = operations.forward_backward(BATCHES[batch], "ppo", config, forward_only=forward_only).tails
    kind = ForwardRequest if forward_only else ForwardBackwardRequest
    expected = msgspec.json.decode(operations.head(model_id="m", seq_id=3) + tail.body, type=kind)
    got = decoded(BATCHES[batch], "ppo", config, forward_only=forward_only)
    assert type(got) is kind
    assert plain(got) == plain(expected)


def test_numbers_arrive_as_arrays():
    given = decoded(BATCHES["sparse"]).forward_backward_input.data[0]
    assert given.model_input.chunks[0].tokens.dtype == np.int32
    assert given.loss_fn_inputs["target_tokens"].data.dtype == np.int64
    weights = given.loss_fn_inputs["weights"]
    assert (weights.data.dtype, weights.sparse_crow_indices.dtype) == (np.float32, np.int64)


def request(**fields):
    return messages().ForwardBackwardRequest(model_id="m", **fields)


def with_tensor(**fields):
    message = request(seq_id=1)
    tensor = message.data.add().loss_fn_inputs["x"]
    tensor.MergeFrom(type(tensor)(**fields))
    return message


def test_a_request_without_a_number_has_number_0():
    assert decode_forward_backward_request(request(loss_fn="ppo").SerializeToString()).seq_id == 0


def test_the_newer_config_wins_and_the_older_is_enough():
    older = request(loss_fn_config={"a": 1.0})
    read = lambda message: decode_forward_backward_request(message.SerializeToString()).forward_backward_input  # noqa: E731 - three words
    assert read(older).loss_fn_config == {"a": 1.0}
    older.loss_fn_config_v2["a"].text = "t"
    assert read(older).loss_fn_config == {"a": "t"}
    assert read(request()).loss_fn_config is None


def test_other_wire_dtypes_are_widened():
    for dtype, data, expected in (
        (INT32, np.array([-1, 2], "<i4").tobytes(), [-1, 2]),
        (BFLOAT16, b"\x80\x3f\x20\xc0", [1.0, -2.5]),
    ):
        given = decode_forward_backward_request(with_tensor(dense=data, dtype=dtype, shape=[2]).SerializeToString())
        assert given.forward_backward_input.data[0].loss_fn_inputs["x"].data.tolist() == expected


def csr(values=b"\0\0\0\0", rows=(0, 1), columns=(0,)):
    return {
        "values": values,
        "crow_indices": np.array(rows, "<i8").tobytes(),
        "col_indices": np.array(columns, "<i8").tobytes(),
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dtype": FLOAT32}, "x has no values"),
        ({"dense": b"\0\0\0", "dtype": FLOAT32}, "x has 3 bytes"),
        ({"dense": b"\0\0\0\0"}, "x has the dtype number 0"),
        ({"dense": b"\0\0\0\0", "dtype": FLOAT32, "shape": [2]}, r"x has 1 values, but shape \[2\]"),
        ({"dense": b"\0\0\0\0", "dtype": FLOAT32, "shape": [-1, -1]}, r"x has the shape \[-1, -1\]"),
        ({"dense": b"", "dtype": FLOAT32, "shape": [2**32, 2**32]}, "x has 0 values, but shape"),
        ({"sparse_csr": csr(), "dtype": FLOAT32, "shape": [1]}, "two numbers are needed"),
        (
            {"sparse_csr": csr(rows=(0, 1, 1)), "dtype": FLOAT32, "shape": [1, 1]},
            "row pointers that don't divide",
        ),
        ({"sparse_csr": csr(rows=(0, 2)), "dtype": FLOAT32, "shape": [1, 1]}, "row pointers that don't divide"),
        ({"sparse_csr": csr(rows=(1, 1)), "dtype": FLOAT32, "shape": [1, 1]}, "row pointers that don't divide"),
        (
            {"sparse_csr": csr(rows=(0, 2, 1)), "dtype": FLOAT32, "shape": [2, 1]},
            "row pointers that don't divide",
        ),
        ({"sparse_csr": csr(columns=(1,)), "dtype": FLOAT32, "shape": [1, 1]}, "column indices that don't fit"),
        ({"sparse_csr": csr(columns=(-1,)), "dtype": FLOAT32, "shape": [1, 1]}, "column indices that don't fit"),
        ({"sparse_csr": csr(columns=()), "dtype": FLOAT32, "shape": [1, 1]}, "column indices that don't fit"),
    ],
)
def test_a_tensor_that_contradicts_itself_is_refused_with_its_datum(fields, message):
    with pytest.raises(ValueError, match=f"^datum 0: .*{message}"):
        decode_forward_backward_request(with_tensor(**fields).SerializeToString())


def test_a_chunk_of_no_kind_is_refused():
    message = request()
    message.data.add()
    message.data.add().model_input.add()
    with pytest.raises(ValueError, match="datum 1: model_input has a chunk of no known kind"):
        decode_forward_backward_request(message.SerializeToString())


def test_a_config_without_a_value_is_refused():
    message = request()
    message.loss_fn_config_v2["beta"].SetInParent()
    with pytest.raises(ValueError, match="loss_fn_config_v2 has no value for 'beta'"):
        decode_forward_backward_request(message.SerializeToString())


# ---------------------------------------------------------------- results

shapes = st.sampled_from([(0,), (3,), (2, 2), (1, 2), (0, 2), (2, 1, 3)])
arrays = st.builds(
    lambda shape, kind, seed: (np.random.default_rng(seed).standard_normal(shape) * 100).astype(kind),
    shapes, st.sampled_from(["<f4", "<f8", "<i8", "<i4"]), st.integers(0, 99),
)  # fmt: skip
records = st.dictionaries(st.sampled_from(["logprobs", "elementwise_loss", "x"]), arrays, max_size=3)


@settings(max_examples=100, deadline=None)
@given(st.lists(records, max_size=6), st.dictionaries(st.text("ab:", max_size=5), st.floats(allow_nan=False)))
def test_outputs_come_back_per_datum_in_order_type_and_shape(outputs, metrics):
    got = forward_backward_output(encode_forward_backward_output(outputs, metrics))
    assert got.metrics == metrics
    assert got.loss_fn_output_type == "ArrayRecord"
    assert len(got.loss_fn_outputs) == len(outputs)
    for expected, tensors in zip(outputs, got.loss_fn_outputs, strict=True):
        assert sorted(tensors) == sorted(expected)
        for name, values in expected.items():
            kept = values.astype(np.int64 if values.dtype.kind == "i" else np.float32)
            assert (tensors[name].dtype, tuple(tensors[name].shape)) == (str(kept.dtype), kept.shape)
            np.testing.assert_array_equal(tensors[name].to_numpy(), kept)


def test_alike_outputs_share_a_record():
    body = encode_forward_backward_output([{"logprobs": np.zeros(n, np.float32)} for n in (3, 0, 5)], {})
    (record,) = messages().ForwardBackwardOutput.FromString(body).loss_fn_outputs
    assert record.num_datums == 3
    assert np.frombuffer(record.fields["logprobs"].offsets, "<i8").tolist() == [0, 12, 12, 32]


logprobs = st.none() | st.floats(-1e6, 0, width=32)
ranks = st.none() | st.lists(st.tuples(st.integers(1, 2**31 - 1), st.floats(-100, 0, width=32)), min_size=1, max_size=4)
tokens = st.lists(st.integers(0, 2**31 - 1), max_size=9)
sequences = st.tuples(st.sampled_from(["stop", "length"]), tokens, st.booleans(), st.booleans()).map(
    lambda drawn: SampledSequence(drawn[0], drawn[1], [-0.5] * len(drawn[1]) if drawn[2] else None)
)


def _as_many(sequence):
    return st.lists(ranks, min_size=len(sequence.tokens), max_size=len(sequence.tokens))


@settings(max_examples=100, deadline=None)
@given(st.lists(sequences, min_size=1, max_size=4), st.none() | st.lists(logprobs, min_size=5, max_size=5), st.data())
def test_samples_come_back(completions, prompt_logprobs, data):
    topk = data.draw(st.none() | st.lists(ranks, min_size=5, max_size=5))
    sampled = data.draw(st.just(()) | st.tuples(*(_as_many(each) for each in completions)))
    body = encode_sample_response(
        completions, prompt_logprobs, topk, topk_sampled_logprobs=sampled, prompt_cache_hit_tokens=4
    )
    got = sample_response(body, 5)
    assert [(s.stop_reason, s.tokens, s.logprobs) for s in got.sequences] == [
        (s.stop_reason, s.tokens, s.logprobs) for s in completions
    ]
    assert got.prompt_logprobs == prompt_logprobs
    assert got.topk_prompt_logprobs == (topk if topk and any(topk) else None)
    assert got.prompt_cache_hit_tokens == 4
    expected = [rows if any(rows) else None for rows in sampled] or [None] * len(completions)
    assert [s.topk_logprobs for s in got.sequences] == expected


def test_target_logprobs_are_sent_in_their_shape():
    body = encode_sample_response([SampledSequence("stop", [1])], target_prompt_logprobs=np.ones((2, 3)))
    assert sample_response(body, 3).target_prompt_logprobs.shape == [2, 3]


# ---------------------------------------------------------------- any bytes

GOOD = head("m", 3) + encode_forward_backward_tail(
    [*BATCHES["sparse"], *BATCHES["images"], *BATCHES["two dimensions"]], "ppo", {"a": 1, "b": "c"}, forward_only=False
)


@pytest.mark.parametrize("body", [b"\xff", b'{"model_id":"m"}', b"<html>", GOOD[:-1]])
def test_what_is_no_message_is_refused(body):
    with pytest.raises(ValueError, match="not a ForwardBackwardRequest message"):
        decode_forward_backward_request(body)


@pytest.mark.parametrize("seed", range(8))
def test_mutated_requests_are_understood_or_refused(seed):
    rng = random.Random(seed)
    refused = 0
    for _ in range(250):
        body = bytearray(GOOD)
        for _ in range(rng.randint(1, 3)):
            place = rng.randrange(len(body))
            body[place : place + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
        try:
            got = decode_forward_backward_request(bytes(body))
        except ValueError:
            refused += 1
            continue
        batch = got.forward_input if isinstance(got, ForwardRequest) else got.forward_backward_input
        for each in batch.data:
            for tensor in each.loss_fn_inputs.values():
                assert tensor.sparse_crow_indices is not None or tensor.shape is None or (
                    math.prod(tensor.shape) == len(tensor.data)
                )  # fmt: skip
    assert 20 < refused < 250
