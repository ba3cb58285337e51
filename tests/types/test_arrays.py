"""What programs hold numbers in: taken exactly, or refused by its name and place. Nothing is bent."""

from __future__ import annotations

import array
import collections
import decimal
import fractions
import json
import math

import ml_dtypes
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinker_actors.errors import InvalidInputError
from tinker_actors.protocol.codec.tokens import int32_ids, json_ids
from tinker_actors.types import Datum, EncodedTextChunk, ModelInput, TensorData


def tensor(name, value):
    return Datum(ModelInput.from_ints([1]), {name: value}).loss_fn_inputs[name]


# ---------------------------------------------------------------- taken

IDS = [0, 1, 70_000]
HOLD_IDS = {
    "list": IDS,
    "tuple": tuple(IDS),
    "deque": collections.deque(IDS),
    "dict values": dict(enumerate(IDS)).values(),
    "generator": lambda: (i for i in IDS),
    "array.array": array.array("q", IDS),
    "memoryview": memoryview(array.array("i", IDS)),
    "uint32": np.array(IDS, np.uint32),
    "uint64": np.array(IDS, np.uint64),
    "objects": np.array(IDS, object),
    "masked, of which nothing is": np.ma.array(IDS, mask=False),
    "numpy integers": [np.int64(0), np.uint8(1), np.int32(70_000)],
    "arrays without dimensions": [np.array(i) for i in IDS],
    "pandas": pd.Series(IDS),
    "pandas with gaps, without one": pd.Series(IDS, dtype="Int64"),
    "pandas index": pd.Index(IDS),
    "polars": pl.Series(IDS, dtype=pl.UInt32),
    "a column": pl.DataFrame({"ids": IDS})["ids"],
    "encoding": {"input_ids": IDS, "attention_mask": [1, 1, 1]},
    "encoding of one row": {"input_ids": np.array([IDS]), "attention_mask": np.ones((1, 3))},
}


@pytest.mark.parametrize("held", HOLD_IDS)
def test_token_ids_are_taken_from_whatever_holds_them(held):
    given = HOLD_IDS[held]
    chunk = EncodedTextChunk(given() if callable(given) else given)
    assert json.loads(json_ids(chunk.tokens, "x")) == IDS
    assert int32_ids(chunk.tokens, "x").tolist() == IDS


def test_a_range_is_a_run_of_ids():
    assert ModelInput.from_ints(range(5, 9)).to_ints() == [5, 6, 7, 8]
    assert tensor("target_tokens", range(3)).data == [0, 1, 2]


def test_the_encoding_of_a_tokenizer_is_taken():
    tokenizers = pytest.importorskip("tokenizers")
    model = tokenizers.models.WordLevel({"a": 3, "b": 5, "?": 0}, unk_token="?")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    assert ModelInput.from_ints(tokenizer.encode("b a b")).to_ints() == [5, 3, 5]
    tokenizer.enable_padding(length=4)
    with pytest.raises(InvalidInputError, match="padding"):
        ModelInput.from_ints(tokenizer.encode("b a"))


@pytest.mark.parametrize("held", [name for name in HOLD_IDS if "encoding" not in name])
def test_targets_are_taken_from_whatever_holds_them(held):
    given = HOLD_IDS[held]
    targets = tensor("target_tokens", given() if callable(given) else given)
    assert (targets.dtype, targets.data) == ("int64", IDS)


@pytest.mark.parametrize("name", ["weights", "sequence_ratio_mask"])
@pytest.mark.parametrize(
    "mask",
    [
        [False, True],
        (np.False_, np.True_),
        np.array([False, True]),
        [[False, True], [True, False]],
        pd.Series([False, True]),
        pd.Series([False, True], dtype="boolean"),
        pl.Series([False, True]),
        [0, True],
    ],
)
def test_masks_are_taken_under_the_names_that_the_wire_has_for_them(name, mask):
    weights = tensor(name, mask)
    assert weights.dtype == "float32"
    assert weights.tolist() == np.asarray(mask, np.float32).tolist()


@pytest.mark.parametrize(
    "kind", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float16", "float32", "float64", "longdouble"]
)
def test_floats_of_every_width_are_float32(kind):
    values = np.array([0.5, -2.0, 1.0]).astype(getattr(ml_dtypes, kind, None) or kind)
    for held in (values, list(values), [values[:1], values[1:2]]):
        expected = np.asarray(held).astype(np.float64).tolist()
        made = tensor("advantages", held)
        assert (made.dtype, made.tolist()) == ("float32", expected)


@pytest.mark.parametrize("kind", ["int4", "uint4"])
def test_small_integers_are_int64(kind):
    values = np.array([1, 3], getattr(ml_dtypes, kind))
    assert (tensor("target_tokens", values).dtype, tensor("target_tokens", values).data) == ("int64", [1, 3])
    assert ModelInput.from_ints(values).to_ints() == [1, 3]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([2.0, 3, np.float32(4)], [2, 3, 4]),
        (np.array([2.0, -3.0]), [2, -3]),
        ([[1, 2], [3.0, 4]], [[1, 2], [3, 4]]),
        ([np.array([1, 2], np.uint8), (3, 4)], [[1, 2], [3, 4]]),
        ([-(2**63), 2**63 - 1], [-(2**63), 2**63 - 1]),
        (np.array([2**63 - 1], np.uint64), [2**63 - 1]),
    ],
)
def test_whole_numbers_are_integers_however_they_are_held(data, expected):
    assert TensorData(data, "int64").tolist() == expected


def test_integers_that_float32_has_are_floats():
    for data in ([1, 2.5, 2**24, 2**30], [2**24, 2**80], np.array([2**24, 2**40]), [fractions.Fraction(1, 2)]):
        assert TensorData(data, "float32").tolist() == [float(value) for value in data]


def test_torch_values_are_taken():
    torch = pytest.importorskip("torch")
    for kind in (torch.bfloat16, torch.float16, torch.float64, torch.float8_e4m3fn):
        made = tensor("advantages", torch.tensor([0.5, -2.0]).to(kind))
        assert (made.dtype, made.data) == ("float32", [0.5, -2.0])
    assert tensor("weights", torch.tensor([True, False])).data == [1.0, 0.0]
    assert tensor("target_tokens", torch.tensor([[0, 2], [1, 0]]).to_sparse()).tolist() == [[0, 2], [1, 0]]
    assert tensor("target_tokens", [torch.tensor(3), 4]).data == [3, 4]
    assert tensor("advantages", list(torch.tensor([0.5, 1.5], requires_grad=True))).data == [0.5, 1.5]
    assert ModelInput.from_ints(torch.tensor([1, 2], dtype=torch.uint8)).to_ints() == [1, 2]
    for wrong in (torch.tensor([0.5]).bfloat16(), torch.tensor([True]), torch.empty(2, device="meta")):
        with pytest.raises(InvalidInputError):
            ModelInput.from_ints(wrong)
    with pytest.raises(InvalidInputError, match="True"):
        tensor("target_tokens", [torch.tensor(True), 2])


# ---------------------------------------------------------------- refused

IN_LISTS = [
    ("target_tokens", 2.7, "is 2.7; it must be an integer"),
    ("target_tokens", math.nan, "is nan"),
    ("target_tokens", math.inf, "is inf"),
    ("target_tokens", "3", "is '3'"),
    ("target_tokens", b"3", "is b'3'"),
    ("target_tokens", True, "is True"),
    ("target_tokens", np.True_, "True"),
    ("target_tokens", None, "is None"),
    ("target_tokens", 2**63, "int64 ends at"),
    ("target_tokens", np.float32(2.5), "2.5"),
    ("target_tokens", np.timedelta64(5), "5"),
    ("target_tokens", np.datetime64("2020"), "2020"),
    ("target_tokens", 2 + 0j, "is (2+0j)"),
    ("target_tokens", decimal.Decimal(2), "Decimal"),
    ("target_tokens", {2}, "is {2}"),
    ("advantages", True, "is True; it must be a number"),
    ("advantages", np.False_, "False"),
    ("advantages", "0.5", "is '0.5'"),
    ("advantages", None, "is None"),
    ("advantages", np.complex64(1 + 2j), "1+2j"),
    ("advantages", np.timedelta64(5, "s"), "5"),
    ("advantages", decimal.Decimal("0.5"), "Decimal"),
    ("advantages", 1e39, "is 1e+39; float32 ends at"),
    ("advantages", 10**400, "float32"),
    ("advantages", 2**24 + 1, "is 16777217; float32 has no such integer"),
    ("advantages", {0.5: 1}, "is {0.5: 1}"),
    ("weights", "1", "is '1'"),
    ("weights", None, "is None"),
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("name", "bad", "says"), IN_LISTS)
@pytest.mark.parametrize("before", [[], [7], [0, 1, 2], [np.int64(1)]])
def test_what_would_be_bent_in_a_list_is_refused_with_its_place(name, bad, says, before):
    with pytest.raises(InvalidInputError) as caught:
        tensor(name, [*before, bad, 5])
    assert caught.value.message.startswith(f"loss_fn_inputs['{name}'][{len(before)}] ")
    assert says in str(caught.value)
    with pytest.raises(InvalidInputError, match=r"\[1\]\[0\]"):
        tensor(name, [[1, 1], [bad, 5]])


def test_an_integer_that_has_no_text_is_refused_all_the_same():
    for name in ("target_tokens", "weights"):
        with pytest.raises(InvalidInputError, match=r"\[1\] is <int>"):
            tensor(name, [1, 10**5000])


WHOLE = [
    ("target_tokens", {1, 2}, "no order"),
    ("target_tokens", frozenset({1}), "no order"),
    ("target_tokens", {"input_ids": [1]}, "input_ids"),
    ("target_tokens", "12", "text"),
    ("target_tokens", b"12", "text"),
    ("target_tokens", memoryview(b"12"), "text"),
    ("target_tokens", 5, "can't be made of int"),
    ("target_tokens", np.array([True]), "bool has no name"),
    ("target_tokens", np.array(["3"]), "<U1 has no name"),
    ("target_tokens", np.array([1j]), "complex128 has no name"),
    ("target_tokens", np.array([2**63], np.uint64), r"\[0\] is 9223372036854775808"),
    ("target_tokens", np.array([1, None], object), r"\[1\] is None"),
    ("target_tokens", np.ma.array([1, 2], mask=[0, 1]), "masked"),
    ("target_tokens", pd.Series([1, None], dtype="Int64"), "missing|NA"),
    ("target_tokens", pd.Series(["a"]), "is 'a'"),
    ("target_tokens", pl.Series([1, None]), "missing"),
    ("target_tokens", pl.Series(["a"]), "no name"),
    ("target_tokens", [[1], [1, 2]], "rectangular"),
    ("target_tokens", [1, [2]], "rectangular"),
    ("advantages", np.array([True]), "bool has no name"),
    ("advantages", np.array([[1.0, 1e39]]), r"\[0\]\[1\] is 1e\+39"),
    ("weights", pl.Series([True, None]), "None|missing"),
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("name", "value", "says"), WHOLE)
def test_what_holds_no_such_numbers_is_refused_by_its_name(name, value, says):
    with pytest.raises(InvalidInputError, match=says) as caught:
        tensor(name, value)
    assert f"'{name}'" in str(caught.value)


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        ({1, 2}, "no order"),
        ({1: 2}, "give one of its values"),
        (5, "can't be made of int"),
        (memoryview(b"ab"), "tokenizer"),
        (np.ma.array([1, 2], mask=[0, 1]), "masked"),
        (pd.Series([1, None], dtype="Int64"), "missing"),
        (pl.Series([1, None]), "missing"),
        (np.array([1.0], ml_dtypes.bfloat16), "bfloat16"),
        ({"input_ids": [[1], [2]]}, "2 texts"),
        ({"input_ids": [1, 0], "attention_mask": [1, 0]}, "padding"),
        ({"input_ids": np.array([[1, 0]]), "attention_mask": np.array([[1, 0]])}, "padding"),
    ],
)
def test_what_is_no_run_of_ids_is_refused_by_its_name(tokens, says):
    with pytest.raises(InvalidInputError, match=says):
        ModelInput.from_ints(tokens)


def test_a_list_in_itself_is_refused():
    ring = []
    ring.append(ring)
    with pytest.raises(InvalidInputError, match="contains itself"):
        TensorData(ring, "int64")


plain = st.one_of(
    st.integers(-(2**70), 2**70), st.integers(-5, 5), st.floats(), st.booleans(), st.none(), st.text(max_size=2)
)


@settings(deadline=None)
@given(st.lists(plain, max_size=6), st.sampled_from(["int64", "float32"]))
def test_what_is_taken_says_what_was_given(data, dtype):
    """Whatever is in a list, it arrives as it was, floats rounded to float32, or nothing does."""
    try:
        made = TensorData(data, dtype).to_numpy()
    except InvalidInputError:
        kinds = {type(value) for value in data}
        fits = all(abs(value) <= 2**24 for value in data if isinstance(value, int))
        assert not (kinds <= {int} and fits) or not data
        return
    for had, has in zip(data, made.tolist(), strict=True):
        assert isinstance(had, int | float)
        assert dtype == "float32" or not isinstance(had, bool)
        if isinstance(had, int):
            assert has == had
        else:
            np.testing.assert_equal(has, float(made.dtype.type(had)))


@pytest.mark.parametrize(
    ("rows", "columns", "shape"),
    [
        ([0, 1.5], [0], [1, 1]),
        (["0", "1"], [0], [1, 1]),
        ([0, True], [0], [1, 1]),
        ([0, 1], [1], [1, 1]),
        ([0, 1], [-1], [1, 1]),
        ([0, 2], [0], [1, 1]),
        ([0, 0, 1], [0], [1, 1]),
        ([1, 0, 1], [0], [2, 1]),
        ([0, 1], [0], [1]),
        ([0, 1], [0], [1, 2.5]),
        ([0, 1], [0], ["1", 1]),
    ],
)
def test_indices_of_sparse_tensors_are_checked(rows, columns, shape):
    with pytest.raises(InvalidInputError):
        TensorData([7], "int64", shape, sparse_crow_indices=rows, sparse_col_indices=columns)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_shape_is_made_of_integers(sign):
    for shape in ([2.0], [True, 2], ["2"], [sign * 10**30]):
        with pytest.raises(InvalidInputError):
            TensorData([1, 2], "int64", shape)
