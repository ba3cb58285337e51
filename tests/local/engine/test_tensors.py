"""Weight files: every type exactly, nothing that is cut short or of another kind."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import save

from tinker_actors.local.engine.tensors import read_tensors


def content(table, raw=b""):
    header = json.dumps(table).encode()
    return struct.pack("<Q", len(header)) + header + raw


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_the_formats_own_library_writes_is_read(tmp_path, dtype):
    rng = np.random.default_rng(0)
    saved = {"a": rng.standard_normal((3, 4)), "b.weight": rng.standard_normal(5), "scalar": np.array(2.5)}
    saved = {name: array.astype(dtype) for name, array in saved.items()}
    (tmp_path / "x.safetensors").write_bytes(save(saved, metadata={"format": "pt"}))
    found = read_tensors(tmp_path / "x.safetensors")
    assert found.keys() == saved.keys()
    for name, array in saved.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], array.astype(np.float32))


@given(values=arrays(np.uint16, st.integers(0, 20)))
def test_bfloat16_is_the_upper_half_of_float32(tmp_path_factory, values):
    file = tmp_path_factory.getbasetemp() / "bfloat16.safetensors"
    entry = {"dtype": "BF16", "shape": [len(values)], "data_offsets": [0, 2 * len(values)]}
    file.write_bytes(content({"a": entry}, values.astype("<u2").tobytes()))
    bits = read_tensors(file)["a"].view(np.uint32)
    np.testing.assert_array_equal(bits, values.astype(np.uint32) * 2**16)


def test_known_bfloat16_numbers(tmp_path):
    raw = struct.pack("<5H", 0x3F80, 0xBF80, 0x4049, 0x7F80, 0x0000)
    entry = {"dtype": "BF16", "shape": [5, 1], "data_offsets": [0, 10]}
    (tmp_path / "x").write_bytes(content({"a": entry}, raw))
    assert read_tensors(tmp_path / "x")["a"].tolist() == [[1.0], [-1.0], [3.140625], [np.inf], [0.0]]


def entry(**changes):
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "is no safetensors file: it has 0 bytes"),
        (b"<html>not found</html>", "is no safetensors file, or cut short"),
        (content({})[:-1], "is no safetensors file, or cut short"),
        (struct.pack("<Q", 3) + b"no!", "its header is no JSON"),
        (content([1]), "its header is no table"),
        (content({"a": {"dtype": "F32"}}), "a: its entry in the header makes no sense"),
        (content({"a": entry()}, b"1234567"), "a lies at bytes 0 to 8, but the file has 7: it is cut short"),
        (content({"a": entry(shape=[3])}, bytes(8)), r"a has 8 bytes, which is not what \[3\] of F32 takes"),
        (content({"a": entry(dtype="I64")}, bytes(8)), "a is of type I64; only F64, F32, F16, BF16 can be read"),
    ],
)
def test_what_is_no_weight_file_is_refused(tmp_path, raw, message):
    (tmp_path / "x").write_bytes(raw)
    with pytest.raises(ValueError, match=message):
        read_tensors(tmp_path / "x")
