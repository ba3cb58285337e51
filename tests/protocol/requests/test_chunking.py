"""Where a batch is cut."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinker_actors.errors import InvalidInputError
from tinker_actors.protocol.requests.chunking import datum_bytes, prompt_bytes, split
from tinker_actors.types import Datum, EncodedTextChunk, ImageAssetPointerChunk, ImageChunk, ModelInput, TensorData


@pytest.mark.parametrize(
    ("weights", "count", "size", "expected"),
    [
        ([], 3, 10, []),
        ([1], 3, 10, [[0]]),
        ([5, 5, 1], 3, 10, [[0, 1], [2]]),
        ([5, 6], 3, 10, [[0], [1]]),
        ([1, 1, 1, 1], 3, 10, [[0, 1, 2], [3]]),
        ([99], 3, 10, [[0]]),
        ([1, 99, 1], 3, 10, [[0], [1], [2]]),
        ([0, 0, 0], 1, 10, [[0], [1], [2]]),
    ],
)
def test_a_chunk_ends_at_the_count_or_before_the_bytes_are_exceeded(weights, count, size, expected):
    assert [list(chunk) for chunk in split(weights, count, size)] == expected


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 8), st.integers(1, 100))
def test_every_index_is_in_one_chunk_in_order_and_limits_hold(weights, count, size):
    chunks = split(weights, count, size)
    assert [index for chunk in chunks for index in chunk] == list(range(len(weights)))
    for chunk in chunks:
        assert 1 <= len(chunk) <= count
        assert len(chunk) == 1 or sum(weights[i] for i in chunk) <= size


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), max_size=60), st.integers(1, 8), st.integers(1, 100))
def test_no_chunk_is_cut_earlier_than_it_must(weights, count, size):
    chunks = split(weights, count, size)
    for chunk, following in itertools.pairwise(chunks):
        full = len(chunk) == count
        too_large = sum(weights[i] for i in chunk) + weights[following.start] > size
        assert full or too_large


def test_tokens_and_numbers_count_ten_bytes_and_images_their_own():
    prompt = ModelInput(
        [
            EncodedTextChunk([1, 2, 3]),
            ImageChunk(b"x" * 100, "png"),
            ImageAssetPointerChunk("http://a/b", "jpeg"),
            EncodedTextChunk(np.array([1, 2])),
        ]
    )
    assert prompt_bytes(prompt) == 30 + 100 + 10 + 20


def test_a_datum_counts_every_value_of_every_tensor():
    dense = TensorData(np.zeros((4, 2), dtype=np.float32), dtype="float32")
    sparse = TensorData(
        [1, 2], dtype="int64", shape=[4, 5], sparse_crow_indices=[0, 1, 1, 2, 2], sparse_col_indices=[0, 3]
    )
    datum = Datum(ModelInput.from_ints([1, 2, 3, 4]), {"weights": dense, "target_tokens": sparse})
    assert datum_bytes(datum) == 10 * (4 + 8 + 2 + 5 + 2)


def test_a_chunk_of_no_known_kind_is_refused():
    prompt = ModelInput.from_ints([1])
    prompt.chunks.append(7)
    with pytest.raises(InvalidInputError, match="not of int"):
        prompt_bytes(prompt)
