"""The stores: what was written is there, whole, after whatever happens."""

from __future__ import annotations

import contextlib
import itertools
import json
import sqlite3
import tarfile

import msgspec
import numpy as np
import pytest

from tinker_actors.errors import ConfigError
from tinker_actors.local import marks, private
from tinker_actors.local.core.keeping import CheckpointExistsError, CheckpointMissingError, RunRecord, SessionRecord
from tinker_actors.local.store.files import DATABASE, FileStore
from tinker_actors.local.store.memory import MemoryStore
from tinker_actors.types.training import LoraConfig


@pytest.fixture(params=["memory", "files"])
def store(request, open_store):
    return MemoryStore() if request.param == "memory" else open_store()


def folders(root):
    return {path.parent for path in (root / "checkpoints").rglob("*.safetensors")}


def session(number: int, **fields: object) -> SessionRecord:
    return SessionRecord(session_id=f"session-{number}", owner="me", created_at=float(number), **fields)


def run(number: int) -> RunRecord:
    return RunRecord(
        run_id=f"session-{number}:train:0",
        owner="me",
        base_model="local/tiny",
        lora=LoraConfig(),
        created_at=1.0,
        last_request_at=2.0,
    )


def test_what_is_read_is_what_was_written(store, making):
    store.write(making.checkpoint(1.5), overwrite=False)
    found = store.read(making.path)
    assert found.meta.user_metadata == {"note": "ä"}
    assert (found.meta.lora.rank, found.meta.lora.seed) == (2, 7)
    np.testing.assert_array_equal(found.adapter["a"], np.full((3, 2), 1.5, np.float32))
    np.testing.assert_array_equal(found.adapter["b"], np.arange(6.0).reshape(2, 3).T)
    assert found.optimizer["step"].tolist() == [3]
    assert found.adapter_config == {"peft_type": "LORA", "r": 2}
    assert store.find(making.path).path == making.path
    assert [meta.path for meta in store.checkpoints()] == [making.path]


def test_a_checkpoint_does_not_change_with_the_arrays_it_was_made_from(store, making):
    given = making.checkpoint(1.0)
    store.write(given, overwrite=False)
    given.adapter["a"][...] = 9
    assert store.read(making.path).adapter["a"][0, 0] == 1


def test_a_taken_path_is_kept_unless_it_is_to_be_overwritten(store, making):
    store.write(making.checkpoint(1.0, uid="first"), overwrite=False)
    with pytest.raises(CheckpointExistsError):
        store.write(making.checkpoint(2.0, uid="second"), overwrite=False)
    assert store.find(making.path).uid == "first"
    store.write(making.checkpoint(2.0, uid="second"), overwrite=True)
    assert store.find(making.path).uid == "second"
    assert store.read(making.path).adapter["a"][0, 0] == 2


def test_what_is_not_there_is_missing(store, making, tmp_path):
    assert store.find(making.path) is None
    store.delete(making.path)
    for use in (
        lambda: store.read(making.path),
        lambda: store.update(making.checkpoint(1.0).meta),
        lambda: store.copy(making.path, making.checkpoint(1.0).meta),
        lambda: store.pack(making.path, "u", tmp_path / "x"),
    ):
        with pytest.raises(CheckpointMissingError):
            use()


def test_an_archive_holds_the_files_of_the_adapter(store, making, tmp_path):
    store.write(making.checkpoint(1.0), overwrite=False)
    store.pack(making.path, "u", tmp_path / "a.tar.gz")
    with tarfile.open(tmp_path / "a.tar.gz") as archive:
        assert archive.getnames() == ["adapter_config.json", "adapter_model.safetensors", "optimizer.safetensors"]
        assert json.load(archive.extractfile("adapter_config.json"))["r"] == 2
    with pytest.raises(CheckpointMissingError):
        store.pack(making.path, "another", tmp_path / "b.tar.gz")


def test_a_copy_stays_when_its_source_goes(store, making):
    other = making.path.replace("step_1", "step_2")
    store.write(making.checkpoint(1.5), overwrite=False)
    store.copy(making.path, making.checkpoint(0.0, other, uid="v").meta)
    with pytest.raises(CheckpointExistsError):
        store.copy(making.path, making.checkpoint(0.0, other, uid="w").meta)
    store.delete(making.path)
    assert store.find(making.path) is None
    assert store.read(other).adapter["a"][0, 0] == 1.5
    assert store.read(other).meta.uid == "v"


def test_everything_is_there_after_a_restart(open_store, making):
    store = open_store()
    sampler, gone = making.path.replace("weights", "sampler_weights"), making.path.replace("step_1", "gone")
    store.write(making.checkpoint(1.0), overwrite=False)
    store.write(making.checkpoint(2.0), overwrite=True)
    store.write(making.checkpoint(3.0, sampler, optimizer=False), overwrite=False)
    store.write(making.checkpoint(4.0, gone), overwrite=False)
    store.delete(gone)
    store.update(msgspec.structs.replace(store.find(sampler), public=True, owner="you"))
    store.put_session(session(1))
    store.put_run(run(1))
    store.put_session(session(2))  # commits what was noted before it
    assert store.note_start() == 0
    again = open_store()
    assert again.note_start() == 1
    assert again.read(making.path).adapter["a"][0, 0] == 2
    assert again.read(sampler).optimizer == {}
    assert (again.find(sampler).public, again.find(sampler).owner) == (True, "you")
    assert [meta.path for meta in again.checkpoints()] == [making.path, sampler]
    assert again.sessions() == [session(1), session(2)]
    assert msgspec.json.encode(again.runs()) == msgspec.json.encode([run(1)])


def test_what_was_only_noted_is_there_after_a_proper_end(tmp_path):
    store = FileStore(tmp_path)
    store.put_session(session(1, status="client_finished"))
    store.close()
    store = FileStore(tmp_path)
    assert store.sessions() == [session(1, status="client_finished")]
    store.close()


class CrashError(BaseException):
    """The process ends here: nothing is tidied up."""


@pytest.fixture
def crash_at(monkeypatch):
    """Lets the nth thing done to the disk from now on be a crash; nothing is done to it afterwards.

    Returns the names of the things that were done, which grows.
    """

    def set_up(store: FileStore, number: int) -> list[str]:
        done: list[str] = []

        def step(where, name):
            real = getattr(where, name)

            def counted(*given, **options):
                if len(done) + 1 >= number:
                    raise CrashError
                done.append(name)
                return real(*given, **options)

            monkeypatch.setattr(where, name, counted)

        for where, name in ((private.os, "fsync"), (store._database, "commit"), (marks, "take")):
            step(where, name)
        monkeypatch.setattr(marks, "remove", lambda *_: None)
        monkeypatch.setattr(store._writer, "remove", lambda *_: None)
        return done

    yield set_up
    monkeypatch.undo()


@pytest.mark.parametrize("overwrite", [False, True])
def test_wherever_a_write_is_cut_what_was_there_is_whole(
    tmp_path, open_store, making, crash_at, monkeypatch, overwrite
):
    for number in itertools.count(1):
        root = tmp_path / str(number)
        store = open_store(root)
        if overwrite:
            store.write(making.checkpoint(1.0), overwrite=False)
        done = crash_at(store, number)
        cut = True
        with contextlib.suppress(CrashError):
            store.write(making.checkpoint(2.0), overwrite=overwrite)
            cut = False
        monkeypatch.undo()
        store = open_store(root)
        assert len(folders(root)) == len(store.checkpoints()), "no leftover"
        assert not list(root.rglob(marks.NAME)), "and nothing that could be taken for one"
        if "commit" in done:
            assert store.read(making.path).adapter["a"][0, 0] == 2
        elif overwrite:
            assert store.read(making.path).adapter["a"][0, 0] == 1
        else:
            assert store.checkpoints() == []
        store.write(making.checkpoint(3.0), overwrite=True)
        assert store.read(making.path).adapter["a"][0, 0] == 3
        if not cut:
            break
    assert number > 8


def test_wherever_a_deletion_is_cut_the_checkpoint_is_there_or_gone(
    tmp_path, open_store, making, crash_at, monkeypatch
):
    for number in itertools.count(1):
        root = tmp_path / str(number)
        store = open_store(root)
        store.write(making.checkpoint(1.0), overwrite=False)
        done, cut = crash_at(store, number), True
        with contextlib.suppress(CrashError):
            store.delete(making.path)
            cut = False
        monkeypatch.undo()
        store = open_store(root)
        assert len(folders(root)) == len(store.checkpoints()) == ("commit" not in done)
        assert not list(root.rglob(marks.NAME))
        if not cut:
            break
    assert number > 3


def test_a_deleted_checkpoint_whose_files_are_still_there_does_not_come_back(tmp_path, open_store, making, monkeypatch):
    store = open_store()
    store.write(making.checkpoint(1.0), overwrite=False)
    monkeypatch.setattr(store._writer, "remove", lambda *_: None)
    store.delete(making.path)
    assert len(folders(tmp_path)) == 1
    assert open_store().checkpoints() == []
    assert not list((tmp_path / "checkpoints").iterdir())


def test_a_checkpoint_whose_files_were_taken_away_is_not_listed(tmp_path, open_store, making, caplog):
    store = open_store()
    store.write(making.checkpoint(1.0), overwrite=False)
    (folder,) = folders(tmp_path)
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(CheckpointMissingError, match="missing"):
        store.read(making.path)
    assert open_store().checkpoints() == []
    assert making.path in caplog.text


def test_a_disk_that_takes_nothing_leaves_no_trace(tmp_path, open_store, making, monkeypatch):
    store = open_store()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(private.os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store.write(making.checkpoint(1.0), overwrite=False)
    assert store.find(making.path) is None
    assert not folders(tmp_path)


def test_two_writes_of_one_path_leave_one(tmp_path, open_store, making, monkeypatch):
    store = open_store()
    real = store._folders.write

    def meanwhile(meta, files):
        monkeypatch.undo()
        store.write(making.checkpoint(1.0), overwrite=False)
        return real(meta, files)

    monkeypatch.setattr(store._folders, "write", meanwhile)
    with pytest.raises(CheckpointExistsError):
        store.write(making.checkpoint(2.0), overwrite=False)
    assert store.read(making.path).adapter["a"][0, 0] == 1
    open_store()
    assert len(folders(tmp_path)) == 1


def test_a_checkpoint_that_is_replaced_while_it_is_read_is_read_anew(open_store, making, monkeypatch):
    store = open_store()
    store.write(making.checkpoint(1.0), overwrite=False)
    real = store._folders.read

    def meanwhile(folder, meta):
        monkeypatch.undo()
        store.write(making.checkpoint(2.0), overwrite=True)
        (folder / "adapter_config.json").unlink(missing_ok=True)
        return real(folder, meta)

    monkeypatch.setattr(store._folders, "read", meanwhile)
    assert store.read(making.path).adapter["a"][0, 0] == 2


def test_the_longest_name_is_one(open_store, making):
    path = f"tinker://session-1:train:0/weights/{'n' * 255}"
    open_store().write(making.checkpoint(1.0, path), overwrite=False)
    assert open_store().read(path).adapter["a"][0, 0] == 1


def test_a_folder_has_one_user_at_a_time(tmp_path, open_store):
    open_store()
    with pytest.raises(ConfigError, match="in use"):
        FileStore(tmp_path)


def test_a_database_of_another_version_or_none_at_all_is_refused(tmp_path):
    FileStore(tmp_path).close()
    connection = sqlite3.connect(tmp_path / DATABASE)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ConfigError, match="version 99"):
        FileStore(tmp_path)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / DATABASE).write_bytes(b"no database " * 1000)
    with pytest.raises(ConfigError, match="can't be used"):
        FileStore(tmp_path / "b")


def test_sessions_and_runs_without_checkpoints_are_forgotten(open_store, making):
    store = open_store()
    for number in range(1, 4):
        store.put_run(run(number))
        store.put_session(session(number))
    store.write(making.checkpoint(1.0), overwrite=False)
    for number in (1, 2):
        store.forget_session(f"session-{number}")
        store.forget_run(run(number).run_id)
    store._database.commit()  # what was noted
    store = open_store()
    assert [record.session_id for record in store.sessions()] == ["session-3"]
    assert [record.run_id for record in store.runs()] == [run(number).run_id for number in (1, 3)]
