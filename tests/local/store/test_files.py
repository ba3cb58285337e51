"""The file store: what was written is there, whole, after whatever happens."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np
import pytest

from tinker_actors.local.core.ports import Checkpoint, CheckpointExistsError, CheckpointMeta, CheckpointMissingError
from tinker_actors.local.store import files
from tinker_actors.local.store.files import FileStore
from tinker_actors.local.store.memory import MemoryStore
from tinker_actors.types.training import LoraConfig

PATH = "tinker://session-1:train:0/weights/step_1"


def checkpoint(value: float, path: str = PATH, *, optimizer: bool = True, uid: str = "u") -> Checkpoint:
    meta = CheckpointMeta(
        path=path,
        uid=uid,
        kind="training" if optimizer else "sampler",
        base_model="local/tiny",
        lora=LoraConfig(rank=2, seed=7),
        has_optimizer=optimizer,
        user_metadata={"note": "ä"},
    )
    state = {"step": np.array([3]), "m": np.full(4, value, np.float32)} if optimizer else {}
    # A transposed view: what is saved must be its values, not the memory below it.
    return Checkpoint(meta, {"a": np.full((2, 3), value, np.float32).T, "b": np.arange(6.0).reshape(2, 3).T}, state)


@pytest.fixture(params=["memory", "files"])
def store(request, tmp_path):
    return MemoryStore() if request.param == "memory" else FileStore(tmp_path)


def test_what_is_read_is_what_was_written(store):
    store.write(checkpoint(1.5), overwrite=False)
    found = store.read(PATH)
    assert found.meta.user_metadata == {"note": "ä"}
    assert (found.meta.lora.rank, found.meta.lora.seed) == (2, 7)
    np.testing.assert_array_equal(found.adapter["a"], np.full((3, 2), 1.5, np.float32))
    np.testing.assert_array_equal(found.adapter["b"], np.arange(6.0).reshape(2, 3).T)
    assert found.optimizer["step"].tolist() == [3]
    assert store.find(PATH).path == PATH


def test_a_checkpoint_does_not_change_with_the_arrays_it_was_made_from(store):
    given = checkpoint(1.0)
    store.write(given, overwrite=False)
    given.adapter["a"][...] = 9
    assert store.read(PATH).adapter["a"][0, 0] == 1


def test_a_taken_path_is_kept_unless_it_is_to_be_overwritten(store):
    store.write(checkpoint(1.0, uid="first"), overwrite=False)
    with pytest.raises(CheckpointExistsError):
        store.write(checkpoint(2.0, uid="second"), overwrite=False)
    assert store.find(PATH).uid == "first"
    store.write(checkpoint(2.0, uid="second"), overwrite=True)
    assert store.find(PATH).uid == "second"
    assert store.read(PATH).adapter["a"][0, 0] == 2


def test_what_is_not_there_is_missing(store):
    assert store.find(PATH) is None
    with pytest.raises(CheckpointMissingError):
        store.read(PATH)


def test_checkpoints_and_sessions_are_there_after_a_restart(tmp_path):
    store = FileStore(tmp_path)
    sampler = PATH.replace("weights", "sampler_weights")
    store.write(checkpoint(1.0), overwrite=False)
    store.write(checkpoint(2.0), overwrite=True)
    store.write(checkpoint(3.0, sampler, optimizer=False), overwrite=False)
    store.remember_session("session-1")
    assert list(store.earlier_sessions()) == []
    again = FileStore(tmp_path)
    assert again.read(PATH).adapter["a"][0, 0] == 2
    assert again.read(sampler).optimizer == {}
    assert list(again.earlier_sessions()) == ["session-1"]


def crash(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_crash_before_the_rename_leaves_what_was_there(tmp_path, monkeypatch, overwrite):
    store = FileStore(tmp_path)
    if overwrite:
        store.write(checkpoint(1.0), overwrite=False)
    monkeypatch.setattr(files.Path, "rename", crash)
    with pytest.raises(KeyboardInterrupt):
        store.write(checkpoint(2.0), overwrite=True)
    monkeypatch.undo()
    assert any((tmp_path / "aside").iterdir())
    again = FileStore(tmp_path)
    assert not any((tmp_path / "aside").iterdir())
    if overwrite:
        assert again.read(PATH).adapter["a"][0, 0] == 1
    else:
        assert again.find(PATH) is None
    again.write(checkpoint(3.0), overwrite=True)
    assert again.read(PATH).adapter["a"][0, 0] == 3


def test_a_crash_between_new_and_old_leaves_the_new_one(tmp_path, monkeypatch):
    store = FileStore(tmp_path)
    store.write(checkpoint(1.0), overwrite=False)
    monkeypatch.setattr(FileStore, "_remove", crash)
    with pytest.raises(KeyboardInterrupt):
        store.write(checkpoint(2.0), overwrite=True)
    monkeypatch.undo()
    folder = tmp_path / "checkpoints" / "session-1%3Atrain%3A0" / "weights"
    assert len(list(folder.iterdir())) == 2
    assert FileStore(tmp_path).read(PATH).adapter["a"][0, 0] == 2
    assert len(list(folder.iterdir())) == 1


def test_a_disk_that_takes_nothing_leaves_no_trace(tmp_path, monkeypatch):
    store = FileStore(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.write(checkpoint(1.0), overwrite=False)
    assert store.find(PATH) is None
    assert not any((tmp_path / "aside").iterdir())


def test_every_write_that_returned_survives_a_kill(tmp_path):
    """A process that writes for ever is killed in the middle; it had said after each write that it was done."""
    program = textwrap.dedent(
        f"""
        import sys; sys.path[:0] = {sys.path!r}
        import itertools, numpy as np
        from pathlib import Path
        from tinker_actors.local.core.ports import Checkpoint, CheckpointMeta
        from tinker_actors.local.store.files import FileStore
        from tinker_actors.types.training import LoraConfig
        store = FileStore(Path({str(tmp_path)!r}))
        for n in itertools.count():
            meta = CheckpointMeta(path=f"tinker://r:train:0/weights/w{{n % 3}}", uid=str(n), kind="training",
                                  base_model="b", lora=LoraConfig(), has_optimizer=True)
            store.write(Checkpoint(meta, {{"a": np.full(50_000, n)}}, {{"m": np.full(50_000, n)}}), overwrite=True)
            print(n, flush=True)
        """
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
        written = [int(child.stdout.readline()) for _ in range(8)]
        child.kill()
        written += [int(line) for line in child.stdout.read().split()]
    store = FileStore(tmp_path)
    last = written[-1]
    for number in range(max(0, last - 2), last + 1):
        found = store.read(f"tinker://r:train:0/weights/w{number % 3}")
        assert int(found.meta.uid) in (number, number + 3), "an answered write is there, or a later one"
        assert set(found.adapter["a"]) == set(found.optimizer["m"]) == {int(found.meta.uid)}
