"""Model folders that somebody made to do harm: refused by name, not followed out of, and none fills the memory."""

from __future__ import annotations

import itertools
import json
import struct
import tracemalloc

import pytest

from tinker_actors.errors import ConfigError
from tinker_actors.local.engine.tiny import tiny_base
from tinker_actors.local.model_folders import load_model_folders
from tinker_actors.local.store.tensor_files import packed

from .tiny_folder import CONFIG

WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
SIZES = [
    "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
    "intermediate_size", "max_position_embeddings",
]  # fmt: skip
DEEP = b'{"a":' + b"[" * 100_000


@pytest.fixture
def folder(tmp_path):
    """Return a folder that can be served."""
    made = tmp_path / "model"
    made.mkdir()
    (made / "config.json").write_text(json.dumps(CONFIG))
    (made / WHOLE).write_bytes(packed(tiny_base().weights))
    load_model_folders({"mine": made})
    return made


def refused(folder):
    """Return why a folder is refused, which takes little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(ConfigError, match="'mine'") as caught:
            load_model_folders({"mine": folder})
        assert tracemalloc.get_traced_memory()[1] < 200 * 2**20
    finally:
        tracemalloc.stop()
    return str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *itertools.product(SIZES, [10**12, 10**400, -1, 0, "x", 1.5, [], {}, True]),
        *itertools.product(["rope_theta", "rms_norm_eps"], [-1.0, float("nan"), float("inf"), "x", []]),
        ("rope_theta", 0),
        *itertools.product(["eos_token_id"], ["x", {}, True, 1.5, [-1], [10**400], ["x"]]),
    ],
)
def test_a_setting_that_no_model_has_is_refused(folder, key, value):
    (folder / "config.json").write_text(json.dumps({**CONFIG, key: value}))
    refused(folder)


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer.json", INDEX])
@pytest.mark.parametrize("content", [DEEP, b"[]", b"\xff\xfe", b"", b"null"])
def test_a_table_that_is_none_is_refused_by_the_name_of_its_file(folder, name, content):
    (folder / name).write_bytes(content)
    assert name in refused(folder)


@pytest.mark.parametrize(
    "name", ["../other/model.safetensors", "/OTHER/model.safetensors", "a/../model.safetensors", "..", ""]
)
def test_an_index_leads_to_files_of_its_folder_only(folder, name):
    other = folder.parent / "other"
    other.mkdir()
    (folder / WHOLE).rename(other / WHOLE)
    (folder / INDEX).write_text(json.dumps({"weight_map": {"a": name.replace("/OTHER", str(other))}}))
    why = refused(folder)
    assert "no file of its folder" in why or (name in ("..", "") and "not there" in why)


@pytest.mark.parametrize(
    "table", [{"a": 5}, {"a": None}, {"a": "\x00"}, {"a": "x" * 5000}, {"a": "missing"}, ["x"], "x"]
)
def test_an_index_that_makes_no_sense_is_refused(folder, table):
    (folder / INDEX).write_text(json.dumps({"weight_map": table}))
    refused(folder)


@pytest.mark.parametrize(
    "entry",
    [
        {"data_offsets": ["a", "b"]}, {"data_offsets": [0.0, 8.0]}, {"data_offsets": [0, 10**400]},
        {"data_offsets": [None, 8]}, {"data_offsets": [-8, 0]}, {"data_offsets": [True, 8]}, {"data_offsets": [8, 0]},
        {"data_offsets": 8}, {"shape": [-1, -2]}, {"shape": [2**63, 2**63]}, {"shape": ["2"]}, {"shape": [1.5]},
        {"shape": "2"}, {"shape": [1] * 70 + [2]}, {"shape": [0, 2**62], "data_offsets": [0, 0]},
        {"shape": None}, {"dtype": ["F32"]}, {"dtype": "F32\x00"}, {"dtype": "F" * 10_000},
    ],
)  # fmt: skip
def test_an_array_that_contradicts_itself_is_refused(folder, entry):
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **entry}}).encode()
    (folder / WHOLE).write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    assert WHOLE in refused(folder) or entry.get("shape") == [0, 2**62]


@pytest.mark.parametrize(
    "content",
    [
        DEEP,
        struct.pack("<Q", len(DEEP)) + DEEP,
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 99_000_000) + b"{}",
    ],
)
def test_a_header_that_lies_is_refused(folder, content):
    (folder / WHOLE).write_bytes(content)
    assert WHOLE in refused(folder)


def test_a_folder_in_place_of_a_file_is_refused(folder):
    (folder / WHOLE).unlink()
    (folder / WHOLE).mkdir()
    refused(folder)
