"""Checkpoints that the database does not list: the store is not opened until somebody says what is right."""

from __future__ import annotations

import shutil

import msgspec
import pytest

from tinker_actors.errors import ConfigError
from tinker_actors.local import marks
from tinker_actors.local.store.files import DATABASE, FileStore

OTHER = "tinker://session-1:train:0/weights/step_2"


def make(root, making, *paths, **fields):
    """Save checkpoints, one after the other, with rising values."""
    store = FileStore(root)
    for number, path in enumerate(paths, start=1):
        given = making.checkpoint(float(number), path)
        meta = msgspec.structs.replace(given.meta, created_at=float(number), **fields)
        store.write(msgspec.structs.replace(given, meta=meta), overwrite=True)
    store.close()


def drop_database(root):
    for file in root.glob(f"{DATABASE}*"):
        file.unlink()


def folders(root):
    return sorted(path.parent.name for path in root.rglob("adapter_model.safetensors"))


@pytest.fixture(params=["missing", "empty", "older", "another's"])
def orphaned(request, tmp_path, making):
    """Return a data folder with two checkpoints, and a database that does not list the second one or none at all."""
    root, kept = tmp_path / "data", tmp_path / DATABASE
    if request.param == "older":
        make(root, making, making.path)
        shutil.copy(root / DATABASE, kept)
    make(root, making, making.path, OTHER, owner="ann", public=True, ttl_seconds=3600, expires_at=1.0)
    if request.param == "older":
        # As an old copy would be: what it lists of this path has been replaced since.
        drop_database(root)
        shutil.copy(kept, root / DATABASE)
    elif request.param == "missing":
        drop_database(root)
    elif request.param == "empty":
        drop_database(root)
        (root / DATABASE).touch()
    else:
        drop_database(root)
        make(tmp_path / "another", making)
        shutil.copy(tmp_path / "another" / DATABASE, root / DATABASE)
    return root


def test_the_store_refuses_to_open_and_says_how_to_adopt(orphaned):
    before = folders(orphaned)
    database = (orphaned / DATABASE).exists()
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"holds 2 finished checkpoints .* --adopt") as caught:
            FileStore(orphaned)
        assert "nothing has been changed" in str(caught.value)
    assert folders(orphaned) == before
    assert (orphaned / DATABASE).exists() == database


def test_adopted_checkpoints_are_as_they_were_and_have_no_end(orphaned, making):
    store = FileStore(orphaned, adopt=True)
    for _ in range(2):
        assert {meta.path for meta in store.checkpoints()} == {making.path, OTHER}
        assert store.read(making.path).adapter["a"][0, 0] == 1
        found = store.read(OTHER)
        assert found.adapter["a"][0, 0] == 2
        assert found.optimizer["step"].tolist() == [3]
        meta = found.meta
        assert (meta.owner, meta.user_metadata, meta.lora.rank) == ("ann", {"note": "ä"}, 2)
        assert (meta.public, meta.ttl_seconds, meta.expires_at) == (False, None, None)
        assert [run.run_id for run in store.runs()] == ["session-1:train:0"]
        store.close()
        store = FileStore(orphaned)  # once is enough
    store.close()


def test_the_right_database_put_back_makes_all_well_again(tmp_path, making):
    root = tmp_path / "data"
    make(root, making, making.path)
    (root / DATABASE).rename(tmp_path / DATABASE)
    with pytest.raises(ConfigError):
        FileStore(root)
    assert not list(root.glob(f"{DATABASE}*")), "nothing that would disturb it"
    (tmp_path / DATABASE).rename(root / DATABASE)
    store = FileStore(root)
    assert store.read(making.path).adapter["a"][0, 0] == 1
    store.close()


def test_with_adopting_too_what_is_listed_keeps_its_path(tmp_path, making, caplog):
    root = tmp_path / "data"
    make(root, making, making.path, making.path)
    (kept,) = (root / "checkpoints").glob("*/*/*")
    shutil.copytree(kept, kept.with_name("step_1,0123456789abcdef"))
    store = FileStore(root, adopt=True)
    paths = sorted(meta.path for meta in store.checkpoints())
    assert paths[0] == making.path
    assert paths[1].startswith(f"{making.path}-")
    for path in paths:
        assert store.read(path).adapter["a"][0, 0] == 2
        assert path in caplog.text or path == making.path
    store.close()
    store = FileStore(root)
    assert sorted(meta.path for meta in store.checkpoints()) == paths
    store.close()


def test_of_two_with_one_path_the_newer_one_gets_it(tmp_path, making):
    for part, count in (("a", 1), ("b", 2)):
        make(tmp_path / part, making, *[making.path] * count)
    shutil.copytree(tmp_path / "a/checkpoints", tmp_path / "b/checkpoints", dirs_exist_ok=True)
    drop_database(tmp_path / "b")
    store = FileStore(tmp_path / "b", adopt=True)
    assert store.read(making.path).adapter["a"][0, 0] == 2
    assert len(store.checkpoints()) == 2
    store.close()


def test_leftovers_and_strangers_are_no_checkpoints(tmp_path, making):
    root = tmp_path / "data"
    make(root, making, making.path)
    drop_database(root)
    (folder,) = (root / "checkpoints").glob("*/*/*")
    for name in ("unfinished", "cut", "odd", "pathless"):
        shutil.copytree(folder, folder.with_name(name))
    marks.put(folder.with_name("unfinished"))
    (folder.with_name("cut") / "adapter_model.safetensors").unlink()
    (folder.with_name("odd") / "checkpoint.json").write_text('{"name": "mine"}')
    text = (folder / "checkpoint.json").read_text()
    (folder.with_name("pathless") / "checkpoint.json").write_text(text.replace("tinker://", "http://"))
    shutil.rmtree(folder)
    store = FileStore(root)
    assert store.checkpoints() == []
    store.close()
    assert sorted(path.name for path in folder.parent.iterdir()) == ["cut", "odd", "pathless"]


def test_an_older_database_does_not_end_a_checkpoint_whose_time_was_extended(tmp_path, making):
    root = tmp_path / "data"
    make(root, making, making.path, OTHER, ttl_seconds=3600, expires_at=5.0)
    shutil.copy(root / DATABASE, tmp_path)
    store = FileStore(root)
    store.update(msgspec.structs.replace(store.find(making.path), ttl_seconds=None, expires_at=None))
    store.update(msgspec.structs.replace(store.find(OTHER), ttl_seconds=7200, expires_at=9.0))
    store.close()
    drop_database(root)
    shutil.copy(tmp_path / DATABASE, root)
    store = FileStore(root)
    ends = {path: (store.find(path).ttl_seconds, store.find(path).expires_at) for path in (making.path, OTHER)}
    assert ends == {making.path: (None, None), OTHER: (7200, 9.0)}
    assert store.read(OTHER).adapter["a"][0, 0] == 2, "the sums are still there"
    store.update(msgspec.structs.replace(store.find(making.path), expires_at=7.0))
    store.close()
    store = FileStore(root)
    assert store.find(making.path).expires_at == 7.0, "what is said last counts"
    store.close()
