"""Checks of results that were read: what contradicts itself or is not what was asked for is refused."""

from __future__ import annotations

import numpy as np
import pytest

from tinker_actors.protocol.replies.result_checks import check_bytes, check_sequences, whole_outputs
from tinker_actors.types.sampling import SampledSequence


def sequences(count, logprobs=(-0.5, -1.0)):
    return [SampledSequence("length", [1, 2], None if logprobs is None else list(logprobs)) for _ in range(count)]


@pytest.mark.parametrize(("count", "expected"), [(1, 1), (3, 3), (3, 0)])
@pytest.mark.parametrize("logprobs", [None, (-0.5, -1.0)])
def test_as_many_as_were_asked_for_are_right(count, expected, logprobs):
    check_sequences(sequences(count, logprobs), expected)


@pytest.mark.parametrize(
    ("given", "expected", "said"),
    [
        ([], 0, "0 sequences, and at least one"),
        (sequences(2), 3, "2 sequences, and 3"),
        (sequences(1, (-0.5,)), 1, "2 tokens and 1 logprobs"),
    ],
)
def test_what_can_not_be_says_what_it_is(given, expected, said):
    with pytest.raises(ValueError, match=said):
        check_sequences(given, expected)


@pytest.mark.parametrize("tokens", [[], [0], [2**31 - 1, 5, 255, 256]])
def test_token_ids_from_0_on_are_right(tokens):
    check_bytes(np.array(tokens, "<i4").tobytes(), b"")


@pytest.mark.parametrize("tokens", [[-1], [5, -(2**31)], [1, 2, -7, 3]])
def test_a_token_id_below_0_is_none(tokens):
    with pytest.raises(ValueError, match="below 0"):
        check_bytes(np.array(tokens, "<i4").tobytes(), b"")


@pytest.mark.parametrize(("tokens", "logprobs"), [(b"123", b""), (b"1234", b"12345")])
def test_a_part_of_a_number_is_none(tokens, logprobs):
    with pytest.raises(ValueError, match=f"{len(tokens)} bytes and its logprobs {len(logprobs)}: no multiple of 4"):
        check_bytes(tokens, logprobs)


def test_bytes_of_arrays_are_counted_as_numbers():
    tokens = np.array([1, 2], "<i4").tobytes()
    check_sequences([SampledSequence("length", tokens, b"12345678", None, [None, None])], 1)
    with pytest.raises(ValueError, match="2 tokens and 1 logprobs"):
        check_sequences([SampledSequence("length", tokens, b"1234")], 1)
    with pytest.raises(ValueError, match="2 tokens and 1 rows"):
        check_sequences([SampledSequence("length", tokens, None, None, [None])], 1)


def test_outputs_are_one_for_each_example_or_left_out():
    outputs = [{}, {}]
    assert whole_outputs(outputs, 2) is outputs
    assert whole_outputs(outputs, 0) is outputs
    assert whole_outputs([], 3) == [{}, {}, {}]
    with pytest.raises(ValueError, match="2 outputs for 3 examples"):
        whole_outputs(outputs, 3)
