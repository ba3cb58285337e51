"""A pass in one dialect is read back and written in the other without a loss."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinker_actors.errors import InvalidInputError
from tinker_actors.protocol.codec.protobuf import serving
from tinker_actors.protocol.requests import operations
from tinker_actors.protocol.requests.operations import in_dialect, request_head
from tinker_actors.types import Datum, ImageAssetPointerChunk, ImageChunk, ModelInput, TensorData

ids = st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=5)
numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)


@st.composite
def datums(draw):
    tokens = draw(ids)
    prompt = ModelInput.from_ints(draw(st.sampled_from([tokens, np.array(tokens)])))
    if draw(st.booleans()):
        prompt = prompt.append(
            ImageChunk(draw(st.binary(min_size=1, max_size=9)), "png", draw(st.one_of(st.none(), st.just(3))))
        )
        return Datum(prompt, {"target_tokens": tokens} if prompt.chunks[-1].expected_tokens is None else {})
    count = len(tokens)
    weights = draw(st.lists(numbers, min_size=count, max_size=count))
    return Datum(prompt, {"target_tokens": tokens, "weights": weights})


def both(data, loss_fn="custom", config=None, **options):
    return {
        dialect: operations.forward_backward(data, loss_fn, config, dialect=dialect, **options)
        for dialect in ("json", "protobuf")
    }


@settings(deadline=None)
@given(st.lists(datums(), min_size=1, max_size=3), st.booleans())
def test_each_dialect_can_be_read_back_into_the_other(data, forward_only):
    config = {"a": 1.5, "b": "text"}
    (in_json,), (in_protobuf,) = (o.tails for o in both(data, "custom", config, forward_only=forward_only).values())
    there, back = in_dialect(in_protobuf, "json"), in_dialect(in_json, "protobuf")
    assert json.loads(b"{" + there.body) == json.loads(b"{" + in_json.body)
    assert (there.path, there.content_type, there.request_type) == (
        in_json.path, in_json.content_type, in_json.request_type,
    )  # fmt: skip
    assert back.body == in_protobuf.body
    assert (back.path, back.content_type, back.request_type) == (
        in_protobuf.path, in_protobuf.content_type, in_protobuf.request_type,
    )  # fmt: skip
    assert in_dialect(in_json, "json") is in_json


def test_sparse_tensors_and_several_rows_survive():
    sparse = TensorData([7, 8], "int64", [2, 3], sparse_crow_indices=[0, 1, 2], sparse_col_indices=[0, 2])
    data = [Datum(ModelInput.from_ints([1, 2]), {"target_tokens": sparse, "weights": np.ones((2, 3), np.float32)})]
    (in_json,), (in_protobuf,) = (operation.tails for operation in both(data).values())
    assert json.loads(b"{" + in_dialect(in_protobuf, "json").body) == json.loads(b"{" + in_json.body)
    assert in_dialect(in_json, "protobuf").body == in_protobuf.body


def test_both_kinds_of_pass_go_to_one_endpoint_in_protobuf():
    for forward_only, kind in ((False, "ForwardBackward"), (True, "Forward")):
        data = [Datum(ModelInput.from_ints([1]), {"target_tokens": [2]})]
        (tail,) = both(data, "cross_entropy", forward_only=forward_only)["protobuf"].tails
        assert (tail.path, tail.request_type) == ("/api/v1/forward_backward", kind)
        message = serving.parse_forward_backward_request(request_head(tail, "m", 7) + tail.body)
        assert (message.model_id, message.seq_id, message.forward_only) == ("m", 7, forward_only)


@pytest.mark.parametrize("dialect", ["json", "protobuf"])
def test_a_filler_has_no_effect_in_either_dialect(dialect):
    tail = operations.filler(5, dialect)
    assert (tail.dialect, tail.request_type) == (dialect, "Forward")
    body = json.loads(b"{" + in_dialect(tail, "json").body)
    assert body["forward_input"]["data"][0]["loss_fn_inputs"]["weights"]["data"] == [0.0]


def test_pointers_to_images_are_json_whatever_is_asked_for():
    pointer = ModelInput([ImageAssetPointerChunk("http://a", "png", expected_tokens=1)])
    operation = operations.forward_backward(
        [Datum(pointer, {"target_tokens": [5]})], "cross_entropy", dialect="protobuf"
    )
    assert {tail.dialect for tail in operation.tails} == {"json"}
    with pytest.raises(InvalidInputError, match="image_asset_pointer"):
        in_dialect(operation.tails[0], "protobuf")


def test_each_dialect_is_cut_by_its_own_estimate():
    tokens = np.arange(100)
    data = [Datum(ModelInput.from_ints(tokens), {"target_tokens": tokens, "weights": np.ones(100)})] * 4
    cut = both(data, "cross_entropy", max_chunk_bytes=3200)
    # 10 bytes a number in JSON; 4 a token and the size of the numbers in protobuf (wire protocol 6.3).
    assert [tail.weight for tail in cut["json"].tails] == [3000] * 4
    assert [tail.weight for tail in cut["protobuf"].tails] == [3200, 3200]


def test_what_is_refused_is_named_by_its_place_in_the_users_data():
    good = Datum(ModelInput.from_ints([1]), {"target_tokens": [2]})
    bad = Datum(ModelInput.from_ints([-1]), {"target_tokens": [2]})
    for dialect in ("json", "protobuf"):
        with pytest.raises(InvalidInputError, match=r"^data\[3\].model_input.chunks\[0\].tokens\[0\] is the negative"):
            operations.forward_backward([good] * 3 + [bad], "cross_entropy", max_chunk_len=2, dialect=dialect)
