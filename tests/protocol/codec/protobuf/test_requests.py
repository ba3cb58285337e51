"""What a client writes is what the message classes read, and the observed bytes exactly."""

from __future__ import annotations

import base64
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinker_actors.errors import InvalidInputError
from tinker_actors.protocol.codec.protobuf.requests import datum_bytes, encode_forward_backward_tail, head
from tinker_actors.protocol.codec.protobuf.schema import messages
from tinker_actors.types import Datum, EncodedTextChunk, ImageAssetPointerChunk, ImageChunk, ModelInput, TensorData

# Seen on the wire (wire protocol 4.3): SDK 0.38, two tokens, cross_entropy.
OBSERVED = bytes.fromhex(
    "0a0e736573732d313a747261696e3a30 1001 1a54 0a0c0a0a0a080100000002000000 12280a0d7461726765745f746f6b656e73"
    "12170a10 02000000000000000300000000000000 1802 220102 121a0a0777656967687473 120f0a08 0000803f0000803f 1801 220102"
    "220d63726f73735f656e74726f7079"
)


def tail(data, loss_fn="cross_entropy", config=None, *, forward_only=False):
    return encode_forward_backward_tail(data, loss_fn, config, forward_only=forward_only)


def parsed(data, *more, **options):
    return messages().ForwardBackwardRequest.FromString(head("m", 1) + tail(data, *more, **options))


def datum(tokens=(1, 2), **inputs):
    return Datum(ModelInput.from_ints(tokens), inputs)


@pytest.mark.parametrize("as_array", [list, np.array])
def test_the_observed_request_is_written_to_the_byte(as_array):
    example = datum(as_array([1, 2]), target_tokens=as_array([2, 3]), weights=np.ones(2, np.float32))
    assert head("sess-1:train:0", 1) + tail([example]) == OBSERVED


def test_the_observed_request_survives_our_message_classes():
    request = messages().ForwardBackwardRequest.FromString(OBSERVED)
    assert request.SerializeToString(deterministic=True) == OBSERVED


@pytest.mark.parametrize("seq_id", [0, 1, 127, 128, 300, 2**31 - 1])
def test_a_head_can_go_before_any_tail(seq_id):
    request = messages().ForwardBackwardRequest.FromString(head("s:train:0", seq_id) + tail([datum()], "ppo"))
    assert (request.model_id, request.seq_id, request.loss_fn, len(request.data)) == ("s:train:0", seq_id, "ppo", 1)


def test_a_tail_alone_has_neither_model_nor_number():
    request = messages().ForwardBackwardRequest.FromString(tail([datum()]))
    assert (request.model_id, request.seq_id) == ("", 0)


@pytest.mark.parametrize("forward_only", [False, True])
def test_a_pass_without_gradient_says_so(forward_only):
    assert parsed([datum()], forward_only=forward_only).forward_only is forward_only


def test_a_config_is_written_for_both_generations():
    request = parsed([datum()], "ppo", {"a": 1, "s": "t", "z": 0.0})
    assert dict(request.loss_fn_config) == {"a": 1.0, "z": 0.0}
    config = request.loss_fn_config_v2
    assert {name: getattr(config[name], config[name].WhichOneof("value")) for name in config} == {
        "a": 1.0,
        "s": "t",
        "z": 0.0,
    }


@pytest.mark.parametrize("config", [None, {}])
def test_no_config_leaves_both_out(config):
    request = parsed([datum()], "ppo", config)
    assert not request.loss_fn_config
    assert not request.loss_fn_config_v2


@pytest.mark.parametrize("dtype", ["i1", "u1", "<i2", "<i4", ">i4", "<i8", ">i8", "u2", "u4", "u8"])
def test_token_arrays_of_every_integer_type_become_int32(dtype):
    (chunk,) = parsed([datum(np.array([0, 1, 100], dtype))]).data[0].model_input
    assert chunk.encoded_text.tokens == np.array([0, 1, 100], "<i4").tobytes()


def test_token_arrays_with_gaps_between_their_items_are_written_in_order():
    (chunk,) = parsed([datum(np.arange(6)[::-2])]).data[0].model_input
    assert chunk.encoded_text.tokens == np.array([5, 3, 1], "<i4").tobytes()


class Opaque(np.ndarray):
    """An array that refuses to be taken apart into Python numbers."""

    def __iter__(self):
        raise AssertionError("a loop over numbers")

    tolist = item = __iter__


def test_arrays_never_pass_through_python_ints():
    tokens = np.arange(5).view(Opaque)
    example = datum(tokens, target_tokens=np.arange(5).view(Opaque), weights=np.ones(5).view(Opaque))
    assert isinstance(example.model_input.chunks[0].tokens, Opaque)
    assert parsed([example]).data[0].model_input[0].encoded_text.tokens == np.arange(5, dtype="<i4").tobytes()


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (np.array([1, 2**31]), "tokens[1] is the token id 2147483648"),
        (np.array([2**63 + 5], np.uint64), "is the token id 9223372036854775813"),
        (np.array([3, -1]), "is the negative token id -1"),
        (np.array([3, -7], np.int8), "is the negative token id -7"),
        ([1, 2**31], "tokens[1] is the token id 2147483648"),
    ],
)
def test_token_ids_that_do_not_fit_are_refused_and_named(tokens, message):
    with pytest.raises(InvalidInputError, match=re.escape(message)) as caught:
        tail([datum(), datum(tokens)])
    assert str(caught.value).startswith("data[1].model_input.chunks[0].tokens[")


@pytest.mark.parametrize("token", [2.5, "x", True])
def test_tokens_that_were_changed_are_looked_at_again(token):
    example = datum([1, 2])
    example.model_input.chunks[0].tokens[1] = token
    with pytest.raises(InvalidInputError, match=re.escape(f"data[0].model_input.chunks[0].tokens[1] is {token!r}")):
        tail([example])


def test_images_are_embedded_as_they_are():
    chunks = [
        EncodedTextChunk([7]),
        ImageChunk(b"\x89PNG", "png", expected_tokens=300),
        ImageChunk(b"\xff\xd8", "jpeg"),
        EncodedTextChunk(np.array([8])),
    ]
    text, first, second, more = parsed([Datum(ModelInput(chunks))]).data[0].model_input
    assert (text.encoded_text.tokens, more.encoded_text.tokens) == (b"\7\0\0\0", b"\10\0\0\0")
    assert (first.image.data, first.image.format, first.image.expected_tokens) == (b"\x89PNG", "png", 300)
    assert (second.image.data, second.image.format) == (b"\xff\xd8", "jpeg")
    assert not second.image.HasField("expected_tokens")


def test_a_pointer_to_an_image_is_refused_with_advice():
    pointed = Datum(ModelInput([EncodedTextChunk([1]), ImageAssetPointerChunk("s3://b/i.png", "png", 4)]))
    with pytest.raises(InvalidInputError, match="embed it as an ImageChunk") as caught:
        tail([datum(), pointed])
    assert str(caught.value).startswith("data[1].model_input.chunks[1] is an image_asset_pointer")


@pytest.mark.parametrize("array", [np.zeros((2, 3)), np.arange(6).reshape(3, 2).T, np.float32(2.5), np.zeros((0, 4))])
def test_tensors_of_every_shape_are_written_row_by_row(array):
    tensor = parsed([datum(x=TensorData.from_numpy(np.asarray(array)))]).data[0].loss_fn_inputs["x"]
    assert tuple(tensor.shape) == array.shape
    kind, dtype = (2, "<i8") if array.dtype.kind == "i" else (1, "<f4")
    assert tensor.dtype == kind
    assert tensor.WhichOneof("encoding") == "dense"
    assert tensor.dense == np.ascontiguousarray(array, dtype).tobytes()


@pytest.mark.parametrize("values", [[0.5, 2.0], []])
def test_a_sparse_tensor_is_written_as_csr(values):
    rows, columns = ([0, 1, 2], [3, 0]) if values else ([0, 0, 0], [])
    sparse = TensorData(values, "float32", [2, 4], rows, columns)
    tensor = parsed([datum(weights=sparse)]).data[0].loss_fn_inputs["weights"]
    assert tensor.WhichOneof("encoding") == "sparse_csr"
    assert tensor.sparse_csr.values == np.array(values, "<f4").tobytes()
    assert tensor.sparse_csr.crow_indices == np.array(rows, "<i8").tobytes()
    assert tensor.sparse_csr.col_indices == np.array(columns, "<i8").tobytes()
    assert (list(tensor.shape), tensor.dtype) == ([2, 4], 1)


def test_the_estimate_is_that_of_the_official_client():
    sparse = TensorData([1.0], "float32", [2, 2], [0, 1, 1], [0])
    chunks = [EncodedTextChunk([1, 2, 3]), ImageChunk(b"12345", "png")]
    example = Datum(ModelInput(chunks), {"target_tokens": [1, 2], "weights": sparse})
    assert datum_bytes(example) == 4 * 3 + 5 + 8 * 2 + 4 + 8 * (3 + 1)


def test_text_that_can_not_be_sent_is_refused():
    with pytest.raises(InvalidInputError, match="not text that can be sent"):
        tail([datum()], "ppo", {"beta": "\ud800"})


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=150)
tokens = st.lists(st.integers(0, 2**31 - 1), max_size=70)
tokens_expected = st.integers(1, 2**31 - 1)
chunks = st.one_of(
    tokens.map(EncodedTextChunk),
    tokens.map(lambda ids: EncodedTextChunk(np.array(ids, np.int64))),
    st.builds(
        ImageChunk, st.binary(min_size=1, max_size=300), st.sampled_from(["png", "jpeg"]), st.none() | tokens_expected
    ),
)  # fmt: skip
tensors = st.one_of(
    st.lists(st.integers(-(2**63), 2**63 - 1), max_size=40).map(lambda v: TensorData(v, "int64")),
    st.lists(st.floats(width=32), max_size=40).map(lambda v: TensorData(v, "float32")),
    st.tuples(st.integers(0, 4), st.integers(0, 40)).map(lambda s: TensorData(np.zeros(s), "float32")),
)
datums = st.builds(
    Datum, st.lists(chunks, max_size=4).map(ModelInput), st.dictionaries(names, tensors, max_size=3)
)  # fmt: skip


def oracle(data, loss_fn, config, *, forward_only):
    """The same request, made with the message classes."""
    request = messages().ForwardBackwardRequest(model_id="m", seq_id=1, loss_fn=loss_fn, forward_only=forward_only)
    for each in data:
        message = request.data.add()
        for chunk in each.model_input.chunks:
            added = message.model_input.add()
            if isinstance(chunk, ImageChunk):
                added.image.data, added.image.format = chunk.data, chunk.format
                if chunk.expected_tokens is not None:
                    added.image.expected_tokens = chunk.expected_tokens
            else:
                added.encoded_text.tokens = np.asarray(chunk.tokens, "<i4").tobytes()
        for name, tensor in each.loss_fn_inputs.items():
            entry = message.loss_fn_inputs[name]
            entry.dense = tensor.to_numpy().tobytes()
            entry.dtype = {"float32": 1, "int64": 2}[tensor.dtype]
            entry.shape.extend(tensor.shape)
    for name, value in config.items():
        if isinstance(value, str):
            request.loss_fn_config_v2[name].text = value
        else:
            request.loss_fn_config[name] = request.loss_fn_config_v2[name].number = value
    return request


@settings(max_examples=150, deadline=None)
@given(
    data=st.lists(datums, max_size=4),
    loss_fn=names,
    config=st.dictionaries(names, st.floats(allow_nan=False) | names, max_size=4),
    forward_only=st.booleans(),
)
def test_whatever_is_written_is_what_the_message_classes_would_write(data, loss_fn, config, forward_only):
    body = head("m", 1) + tail(data, loss_fn, config, forward_only=forward_only)
    expected = oracle(data, loss_fn, config, forward_only=forward_only)
    written = messages().ForwardBackwardRequest.FromString(body).SerializeToString(deterministic=True)
    assert written == expected.SerializeToString(deterministic=True)


def test_nothing_of_the_encoded_bytes_changes_with_the_arrays_they_came_from():
    weights = np.ones(2, np.float32)
    example = datum(weights=weights)
    body = tail([example])
    weights[:] = math.pi
    assert body == tail([datum(weights=np.ones(2, np.float32))])
    assert base64.b64encode(body) != base64.b64encode(tail([example]))
