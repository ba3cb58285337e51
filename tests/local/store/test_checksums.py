"""Sums: a file of a checkpoint that is not what was saved is found out before anybody computes with it, and named."""

from __future__ import annotations

import hashlib
import json
import logging

import pytest

from tinker_actors.local.core.keeping import CheckpointDamagedError, CheckpointMissingError

FILES = ["adapter_config.json", "adapter_model.safetensors", "optimizer.safetensors"]


def folder_of(root):
    (found,) = (root / "checkpoints").glob("*/*/*")
    return found


def flip(file, place):
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


def test_the_sums_are_those_of_sha256sum(tmp_path, open_store, making):
    open_store().write(making.checkpoint(1.0), overwrite=False)
    folder = folder_of(tmp_path)
    noted = json.loads((folder / "checkpoint.json").read_bytes())["sha256"]
    assert noted == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0, -1])
def test_a_flipped_bit_is_found_and_the_file_is_named(tmp_path, open_store, making, caplog, name, place):
    store = open_store()
    store.write(making.checkpoint(1.0), overwrite=False)
    flip(folder_of(tmp_path) / name, place)
    for use in (lambda: store.read(making.path), lambda: store.pack(making.path, "u", tmp_path / "a.tar.gz")):
        caplog.clear()
        with pytest.raises(CheckpointDamagedError, match=name) as caught:
            use()
        assert "SHA-256" in str(caught.value)
        assert str(tmp_path) not in str(caught.value), "a client need not know where the data are"
        assert [record.levelno for record in caplog.records if name in record.getMessage()] == [logging.ERROR]
    assert not (tmp_path / "a.tar.gz").exists()


def test_a_copy_has_the_sums_of_what_was_saved_not_of_what_is_there(tmp_path, open_store, making):
    store = open_store()
    store.write(making.checkpoint(1.0), overwrite=False)
    flip(folder_of(tmp_path) / FILES[1], -1)
    other = making.path.replace("step_1", "step_2")
    store.copy(making.path, making.checkpoint(0.0, other).meta)
    with pytest.raises(CheckpointDamagedError, match=FILES[1]):
        store.read(other)


@pytest.mark.parametrize("content", ["", "{}", "[" * 100_000, '{"checkpoint": 1, "sha256": {}}'])
def test_a_manifest_that_can_not_be_read_is_named(tmp_path, open_store, making, content):
    store = open_store()
    store.write(making.checkpoint(1.0), overwrite=False)
    (folder_of(tmp_path) / "checkpoint.json").write_text(content)
    with pytest.raises(CheckpointDamagedError, match=r"checkpoint\.json"):
        store.read(making.path)


@pytest.mark.parametrize("name", [*FILES, "checkpoint.json"])
def test_a_missing_file_is_named(tmp_path, open_store, making, name):
    store = open_store()
    store.write(making.checkpoint(1.0), overwrite=False)
    (folder_of(tmp_path) / name).unlink()
    with pytest.raises(CheckpointMissingError, match=name):
        store.read(making.path)
