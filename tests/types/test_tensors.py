"""TensorData: dtype, shape, copies, CSR."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinker_actors.errors import InvalidInputError
from tinker_actors.types import TensorData
from tinker_actors.types.tensors import wire_dtype


@pytest.mark.parametrize(
    ("dtype", "name"),
    [(d, "float32") for d in ("float16", "float32", "float64")]
    + [(d, "int64") for d in ("int8", "int16", "int32", "int64")],
)
def test_floats_and_signed_integers_have_a_name_on_the_wire(dtype, name):
    assert wire_dtype(np.dtype(dtype)) == name
    tensor = TensorData.from_numpy(np.ones((2, 3), dtype=dtype))
    assert (tensor.dtype, tensor.shape, tensor.data) == (name, [2, 3], [1] * 6)
    assert tensor.to_numpy().dtype == np.dtype(name)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint64", "complex64", "object", "U3", "M8[s]"])
def test_other_dtypes_have_none(dtype):
    with pytest.raises(InvalidInputError, match="no name on the wire"):
        TensorData.from_numpy(np.zeros(2, dtype=dtype))


@pytest.mark.parametrize("dtype", [None, "float64", "int32", "bfloat16", ""])
def test_a_dtype_must_be_one_of_the_two(dtype):
    with pytest.raises(InvalidInputError, match="'int64' or 'float32'"):
        TensorData([1], dtype=dtype)


@pytest.mark.parametrize(
    ("data", "shape", "expected"),
    [
        ([1, 2, 3], None, [3]),
        ([[1, 2], [3, 4]], None, [2, 2]),
        ([1, 2, 3, 4], [2, 2], [2, 2]),
        ([1, 2, 3, 4], (4, 1), [4, 1]),
        ([], None, [0]),
        (None, None, [0]),
        ([], [0, 5], [0, 5]),
        (np.array(3), None, []),
    ],
)
def test_the_shape_is_given_or_the_datas_own(data, shape, expected):
    tensor = TensorData(data, dtype="int64", shape=shape)
    assert tensor.shape == expected
    assert tensor.to_numpy().shape == tuple(expected)
    assert len(tensor) == (expected[0] if expected else 0)


@pytest.mark.parametrize(
    ("data", "options"),
    [
        ([1, 2, 3], {"shape": [2, 2]}),
        ([1, 2, 3, 4], {"shape": [2, -1]}),
        ([1, 2, 3, 4], {"shape": [-2, -2]}),
        ([], {"shape": [2**40, 2**40]}),
        ([], {"shape": [2**63, 0]}),
        ([1], {"shape": ["one"]}),
        ([[1, 2], [3]], {}),
        (["a"], {}),
        ([object()], {}),
        ([1], {"sparse_crow_indices": [0, 1]}),
        ([1], {"sparse_col_indices": [0], "shape": [1, 1]}),
        ([1], {"sparse_crow_indices": [0, 1], "sparse_col_indices": [0]}),
    ],
)
def test_data_that_fit_no_shape_are_refused(data, options):
    with pytest.raises(InvalidInputError):
        TensorData(data, dtype="float32", **options)


def test_csr_is_dense_with_zeros_in_between():
    tensor = TensorData([7, 8, 9], "int64", [3, 4], sparse_crow_indices=[0, 2, 2, 3], sparse_col_indices=[0, 3, 1])
    assert tensor.tolist() == [[7, 0, 0, 8], [0, 0, 0, 0], [0, 9, 0, 0]]
    assert tensor.data == [7, 8, 9]
    assert len(tensor) == 3
    assert "sparse int64" in repr(tensor)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), min_size=1, max_size=6))
def test_any_matrix_survives_csr(rows):
    crow, col, values = [0], [], []
    for row in rows:
        for index, value in enumerate(row):
            if value:
                col.append(index)
                values.append(value)
        crow.append(len(col))
    tensor = TensorData(values, "int64", [len(rows), 4], sparse_crow_indices=crow, sparse_col_indices=col)
    assert tensor.tolist() == rows


def test_torch_tensors_come_in_and_go_out():
    torch = pytest.importorskip("torch")
    narrow = TensorData.from_torch(torch.tensor([[1.5, 2.5]], dtype=torch.bfloat16, requires_grad=True))
    assert (narrow.dtype, narrow.tolist()) == ("float32", [[1.5, 2.5]])
    assert TensorData.from_torch(torch.tensor([1, 2], dtype=torch.int32)).dtype == "int64"
    with pytest.raises(InvalidInputError):
        TensorData.from_torch(torch.tensor([True]))
    back = narrow.to_torch()
    back[0, 0] = 9.0
    assert narrow.tolist() == [[1.5, 2.5]]


def numpys(data, dtype):
    """Return what numpy makes of the data, or the kind of its refusal."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return np.asarray(data, dtype)
        except (ValueError, TypeError, OverflowError):
            return None


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.integers(-(2**70), 2**70),
            st.integers(-5, 5),
            st.floats(),
            st.booleans(),
            st.none(),
            st.text(max_size=2),
            st.lists(st.integers(0, 3), max_size=2),
        ),
        max_size=5,
    ),
    st.sampled_from(["int64", "float32"]),
)
def test_a_list_becomes_what_numpy_makes_of_it(data, dtype):
    expected = numpys(data, dtype)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if expected is None:
            with pytest.raises(InvalidInputError):
                TensorData(data, dtype=dtype)
            return
        array = TensorData(data, dtype=dtype).to_numpy()
    assert (array.dtype, array.shape) == (expected.dtype, expected.shape)
    assert array.tobytes() == expected.tobytes() or np.isnan(expected).any()
    assert array.flags.writeable


@pytest.mark.parametrize(
    "data", [[1, np.int64(2)], [0.5, 2], [True, 1], (1.0, 2.0), [0.1], [2**60 + 1], [[1, 2], [3, 4]], [1.5, 2]]
)
@pytest.mark.parametrize("dtype", ["int64", "float32"])
def test_usual_lists_become_what_numpy_makes_of_them(data, dtype):
    with np.errstate(all="ignore"):
        array = TensorData(data, dtype=dtype).to_numpy()
        np.testing.assert_array_equal(array, np.asarray(data, dtype))


def test_an_array_that_fits_is_shared_and_no_other():
    fits, wide = np.ones(3, np.float32), np.ones(3)
    assert np.shares_memory(TensorData.from_numpy(fits).to_numpy(), fits)
    assert not np.shares_memory(TensorData.from_numpy(wide).to_numpy(), wide)
    given_shape = np.ones((2, 3), np.int64)
    assert TensorData.from_numpy(given_shape).shape == [2, 3]
