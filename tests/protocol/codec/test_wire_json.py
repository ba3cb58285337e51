"""JSON both ways."""

from __future__ import annotations

import json
import math
import pathlib

import msgspec
import numpy as np
import pytest

import tinker_actors
from tinker_actors.errors import APIResponseValidationError, InvalidInputError
from tinker_actors.protocol.codec.wire_json import (
    Reader,
    base64_text,
    decode,
    encode,
    encode_body,
    preview,
    without_nulls,
)
from tinker_actors.types import ForwardBackwardOutput, LoraConfig, TensorData
from tinker_actors.types.wire import CreateModelRequest, CreateSessionRequest, CreateSessionResponse

DEEP = b'{"x":' + b"[" * 10_000


def test_tensors_arrays_and_numpy_scalars_have_a_json_form():
    value = {
        "tensor": TensorData([[1, 2], [3, 4]], dtype="int64"),
        "array": np.array([[0.5], [1.0]], dtype=np.float32),
        "scalar": np.int64(3),
        "none": None,
    }
    assert json.loads(encode(value)) == {
        "tensor": {"data": [1, 2, 3, 4], "dtype": "int64", "shape": [2, 2]},
        "array": [[0.5], [1.0]],
        "scalar": 3,
        "none": None,
    }


def test_a_sparse_tensor_sends_its_indices():
    tensor = TensorData([5], "int64", [1, 4], sparse_crow_indices=[0, 1], sparse_col_indices=[2])
    assert json.loads(encode(tensor)) == {
        "data": [5], "dtype": "int64", "shape": [1, 4], "sparse_crow_indices": [0, 1], "sparse_col_indices": [2],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"x": object()}, "object has no JSON form"),
        ({("x",): 1}, "tuple has no JSON form"),
        ({"x": np.complex64(1)}, "complex has no JSON form"),
        ({"x": "\ud800"}, "surrogates not allowed"),
    ],
)
def test_what_has_no_json_form_is_refused(value, words):
    with pytest.raises(InvalidInputError, match=words):
        encode(value)


def test_what_contains_itself_is_refused():
    value = {}
    value["x"] = value
    with pytest.raises(InvalidInputError, match="no JSON form"):
        encode(value)


def test_a_body_has_its_type_and_no_nulls_however_deep():
    body = CreateModelRequest(
        "s", 0, "b", user_metadata={"a": None, "b": [None, {"c": None}]}, lora_config=LoraConfig(8)
    )
    assert json.loads(encode_body(body)) == {
        "type": "create_model",
        "session_id": "s",
        "model_seq_id": 0,
        "base_model": "b",
        "user_metadata": {"b": [None, {}]},
        "lora_config": {"rank": 8, "train_unembed": True, "train_mlp": True, "train_attn": True},
    }
    assert b"null" not in encode_body(CreateSessionRequest())


def test_nulls_in_lists_stay():
    assert without_nulls([None, {"a": None, "b": 1}]) == [None, {"b": 1}]


def test_a_tensor_comes_back_as_it_was():
    output = ForwardBackwardOutput("T", [{"x": TensorData(np.eye(2, dtype=np.float32), "float32")}], {"loss:sum": 1.0})
    back = decode(encode(output), ForwardBackwardOutput)
    np.testing.assert_array_equal(back.loss_fn_outputs[0]["x"].to_numpy(), np.eye(2))
    assert back.metrics == {"loss:sum": 1.0}


def test_unknown_fields_and_a_missing_type_are_ignored():
    assert decode(b'{"session_id":"s","future":{"deep":[1]}}', CreateSessionResponse).session_id == "s"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"null", b'{"session_id":1}', b"{}", b"\xff", b'{"session_id":"\xff"}', DEEP]
)
def test_a_mismatch_names_what_was_read_and_how_it_begins(content):
    with pytest.raises(APIResponseValidationError) as caught:
        decode(content, CreateSessionResponse, what="session answer")
    assert "session answer" in str(caught.value)
    assert preview(content) in str(caught.value)
    assert isinstance(caught.value.__cause__, ValueError | RecursionError)


@pytest.mark.parametrize("dtype", ["float16", "", "int32"])
def test_a_tensor_of_an_unknown_dtype_is_a_mismatch(dtype):
    content = json.dumps(
        {"loss_fn_output_type": "", "loss_fn_outputs": [{"x": {"data": [1], "dtype": dtype}}], "metrics": {}}
    )
    if dtype:
        with pytest.raises(APIResponseValidationError):
            decode(content.encode(), ForwardBackwardOutput)
    else:  # left out: what most are
        assert decode(content.encode(), ForwardBackwardOutput).loss_fn_outputs[0]["x"].dtype == "float32"


def test_a_preview_is_one_short_line():
    assert preview(b"a\n\tb") == "'a b'"
    assert preview(b"x" * 500, 10) == "'xxxxxxxxxx...'"
    assert preview(b"\xff") == "'\ufffd'"


def test_base64_is_the_padded_standard_alphabet():
    assert base64_text(b"\xff\xfe\xfd\xfc") == "//79/A=="


# ---------------------------------------------------------------- as lenient as the official client


class Numbers(msgspec.Struct):
    values: list[float]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"values":[NaN,Infinity,-Infinity,1]}', [math.nan, math.inf, -math.inf, 1.0]),
        (b'{"values":["NaN","-Infinity",2]}', [math.nan, -math.inf, 2.0]),
        (b'\xef\xbb\xbf{"values":[1]}', [1.0]),
        ('{"values":[1]}'.encode("utf-16"), [1.0]),
    ],
)
def test_numbers_are_read_as_they_are_written(body, expected):
    values = Reader(Numbers).read(body).values
    assert [repr(value) for value in values] == [repr(value) for value in expected]


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"values":[nope]}', b'{"values":[NaN,null]}', b'{"values":"NaN"}', b"NaN"]
)
def test_leniency_ends_where_the_shape_does(body):
    with pytest.raises(ValueError, match=r".+"):
        Reader(Numbers).read(body)


def test_answers_are_read_in_one_place():
    """Whoever reads answers with msgspec alone reads them more strictly than the official client."""
    root = pathlib.Path(tinker_actors.__file__).parent
    strict = {
        str(path.relative_to(root))
        for room in ("protocol", "actors", "clients")
        for path in (root / room).rglob("*.py")
        if "msgspec.json.decode(" in path.read_text() or "msgspec.json.Decoder(" in path.read_text()
    }
    # The readers; samples, whose second reader is one; what we wrote ourselves; handles, which are no answers.
    assert strict == {
        "protocol/codec/wire_json.py", "protocol/replies/sample_results.py", "protocol/requests/passes.py",
        "protocol/requests/values.py", "clients/sampler_handle.py",
    }  # fmt: skip
