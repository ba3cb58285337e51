"""Fields are counted before a message is built: as many as there are, and whatever the bytes are."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinker_actors.protocol.codec.protobuf.counting import TooManyPartsError, require_few_parts
from tinker_actors.protocol.codec.protobuf.schema import messages


def parts(body):
    """How many parts a message is found to have."""
    low, high = 0, 16 * len(body) + 1
    while low < high:
        middle = (low + high) // 2
        try:
            require_few_parts(body, middle)
        except TooManyPartsError:
            low = middle + 1
        else:
            high = middle
    return low


def request(datums, tensors=1):
    found = messages().ForwardBackwardRequest(model_id="m", seq_id=1, loss_fn="cross_entropy")
    for _ in range(datums):
        datum = found.data.add()
        datum.model_input.add().encoded_text.tokens = b"\1\0\0\0" * 300
        for number in range(tensors):
            tensor = datum.loss_fn_inputs[f"input {number}"]
            tensor.dense, tensor.dtype = b"\0" * 400, 1
            tensor.shape.extend([10, 10])
    return found.SerializeToString()


@pytest.mark.parametrize(("datums", "tensors"), [(0, 0), (1, 0), (1, 1), (3, 2)])
def test_every_field_of_every_message_counts_once(datums, tensors):
    # Of a datum: itself, its chunk, the text in it. Of a tensor: entry, name, tensor, data, type, shape, its numbers.
    assert parts(request(datums, tensors)) == 3 + datums * (3 + tensors * (6 + 2))


def test_what_is_in_bytes_does_not_count():
    body = messages().ForwardBackwardRequest(model_id="\x1a\x00" * 1000).SerializeToString()
    assert parts(body) == 1


@pytest.mark.parametrize(
    "body", [b"\x1a\x05\x00", b"\x1a", b"\x1b\x1c", b"\x08" + b"\xff" * 11, b"\x80", b"\x1a\x02\x0a\x05"]
)
def test_what_is_no_message_is_refused(body):
    with pytest.raises(ValueError, match=r"cut short|longer|wire type"):
        require_few_parts(body, 100)


@given(st.binary(max_size=300))
@settings(max_examples=500, deadline=None)
def test_whatever_the_parser_takes_is_counted(body):
    kinds = messages()
    try:
        kinds.ForwardBackwardRequest.FromString(body)
    except kinds.decode_error:
        return
    if not has_groups(body):
        require_few_parts(body, 10 * len(body))


def has_groups(body):
    """Whether the bytes may hold a group, which the parser skips and no client sends."""
    return any(byte & 7 in (3, 4) for byte in body)
