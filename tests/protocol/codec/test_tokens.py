"""Token ids: every form is written alike, and what is none is refused with its position and value."""

from __future__ import annotations

import array
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinker_actors.errors import InvalidInputError
from tinker_actors.protocol.codec.tokens import TOKEN_LIMIT, int32_ids, json_ids
from tinker_actors.types import EncodedTextChunk

LAST = TOKEN_LIMIT - 1

ids = st.one_of(st.integers(0, 300_000), st.integers(0, LAST))


@settings(deadline=None)
@given(st.lists(ids, max_size=200))
def test_lists_and_arrays_are_written_alike(tokens):
    for given_as in (list, np.array, lambda t: np.array(t, np.int32), lambda t: [np.int64(i) for i in t]):
        form = given_as(tokens) if tokens else []
        assert json.loads(json_ids(form, "x")) == tokens
        assert int32_ids(form, "x").tolist() == tokens
        assert int32_ids(form, "x").dtype == np.int32


@pytest.mark.parametrize("dtype", ["<i2", ">i4", "<i8", ">i8", "u1", "u2", "u4", "u8"])
@pytest.mark.parametrize("count", [5, 100])
def test_arrays_of_every_integer_type_and_layout_are_written(dtype, count):
    tokens = (np.arange(2 * count) % 100).astype(dtype)[::-2]
    assert json.loads(json_ids(tokens, "x")) == int32_ids(tokens, "x").tolist() == tokens.tolist()


def test_every_id_that_is_looked_up_has_its_own_text():
    tokens = np.arange(2**18)
    assert json.loads(json_ids(tokens, "x")) == tokens.tolist()


class Opaque(np.ndarray):
    """An array that refuses to be taken apart into Python numbers."""

    def __iter__(self):
        raise AssertionError("a loop over numbers")

    tolist = item = __iter__


def test_a_long_array_never_becomes_python_numbers():
    assert json.loads(json_ids(np.arange(100).view(Opaque), "x")) == list(range(100))


BAD = [
    (2.5, "is 2.5; it must be an integer"),
    (2.0, "is 2.0"),
    (1e300, "is 1e+300"),
    (math.nan, "is nan"),
    (math.inf, "is inf"),
    (None, "is None"),
    (True, "is True; it must be an integer"),
    (False, "is False"),
    (np.True_, "True"),
    ("2", "is '2'"),
    ("1,2", "is '1,2'"),
    (b"2", "is b'2'"),
    ([2], "is [2]"),
    ([], "is []"),
    ((2,), "is (2,)"),
    ({}, "is {}"),
    (object(), "is <object"),
    (np.float32(2), "2.0"),
    (-1, "is the negative token id -1"),
    (np.int64(-7), "is the negative token id -7"),
    (2**31, "is the token id 2147483648; token ids are below 2147483648"),
    (2**63, "is the token id 9223372036854775808"),
    (10**30, "is the token id 1000000000000000000000000000000"),
]


@pytest.mark.parametrize(("bad", "message"), BAD)
@pytest.mark.parametrize("before", [[], [0, 1, 150_000], [5] * 9000])
@pytest.mark.parametrize("write", [json_ids, int32_ids])
def test_what_is_no_id_is_refused_with_its_position(write, before, bad, message):
    with pytest.raises(InvalidInputError) as caught:
        write([*before, bad, 7], "prompt")
    assert str(caught.value).startswith(f"prompt[{len(before)}] ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (np.array([3, -1]), "x[1] is the negative token id -1"),
        (np.array([3, -7], np.int8), "x[1] is the negative token id -7"),
        (np.array([1, 2**31]), "x[1] is the token id 2147483648"),
        (np.array([2**63 + 5, 1], np.uint64), "x[0] is the token id 9223372036854775813"),
    ],
)
@pytest.mark.parametrize("write", [json_ids, int32_ids])
def test_arrays_with_such_ids_are_refused_too(write, tokens, message):
    with pytest.raises(InvalidInputError) as caught:
        write(tokens, "x")
    assert message in str(caught.value)


@pytest.mark.parametrize("write", [json_ids, int32_ids])
def test_the_smallest_and_the_greatest_ids_pass(write):
    for form in ([0, 1, LAST], np.array([0, 1, LAST]), [LAST] * 9000, [*range(9000)]):
        write(form, "x")


@pytest.mark.parametrize("tokens", [array.array("i", [1, 2]), memoryview(array.array("q", [1, 2]))])
def test_what_lends_its_memory_becomes_an_array_without_a_loop(tokens):
    kept = EncodedTextChunk(tokens).tokens
    assert isinstance(kept, np.ndarray)
    assert kept.tolist() == [1, 2]
    assert not np.shares_memory(kept, np.asarray(tokens))
