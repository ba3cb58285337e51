"""TensorData: dtype, shape, copies, CSR."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinker_actors.errors import InvalidInputError
from tinker_actors.types import TensorData
from tinker_actors.types.arrays import wire_dtype


@pytest.mark.parametrize(
    ("dtype", "name"),
    [(d, "float32") for d in ("float16", "float32", "float64")]
    + [(d, "int64") for d in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")],
)
def test_floats_and_integers_have_a_name_on_the_wire(dtype, name):
    assert wire_dtype(np.dtype(dtype)) == name
    tensor = TensorData.from_numpy(np.ones((2, 3), dtype=dtype))
    assert (tensor.dtype, tensor.shape, tensor.data) == (name, [2, 3], [1] * 6)
    assert tensor.to_numpy().dtype == np.dtype(name)


@pytest.mark.parametrize("dtype", ["bool", "complex64", "object", "U3", "M8[s]", "m8[s]", "V4"])
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


def test_an_array_that_fits_is_shared_and_no_other():
    fits, wide = np.ones(3, np.float32), np.ones(3)
    assert np.shares_memory(TensorData.from_numpy(fits).to_numpy(), fits)
    assert not np.shares_memory(TensorData.from_numpy(wide).to_numpy(), wide)
    given_shape = np.ones((2, 3), np.int64)
    assert TensorData.from_numpy(given_shape).shape == [2, 3]
