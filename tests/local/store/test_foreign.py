"""What the server did not make stays, whatever it looks like, and whatever the database says."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import stat

import pytest

from tinker_actors.errors import ConfigError
from tinker_actors.local import marks, private
from tinker_actors.local.store.files import DATABASE, FileStore


def tree(root):
    """Return all there is below a folder, without the server's own database and lock: path -> content."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else b""
        for path in sorted(root.rglob("*"))
        if not path.name.startswith((DATABASE, "lock"))
    }


@pytest.fixture
def saved(tmp_path, making):
    """Return the folder of a store with one checkpoint, closed, and the checkpoint's own folder."""
    root = tmp_path / "data"
    store = FileStore(root)
    store.write(making.checkpoint(1.0), overwrite=False)
    store.close()
    (adapter,) = root.rglob("adapter_model.safetensors")
    return root, adapter.parent


def marked(folder):
    """Let a folder bear our mark."""
    marks.put(folder)
    return folder


def test_folders_like_checkpoints_stay_in_the_folder_and_behind_links(tmp_path, making):
    root, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    for folder in (root / "checkpoints/run7/weights/best", elsewhere / "weights/best", root / "archives"):
        folder.mkdir(parents=True)
        (folder / "model.pt").write_text("mine")
    (root / "checkpoints/empty/weights").mkdir(parents=True)
    (root / "checkpoints/linked").symlink_to(elsewhere)
    (root / "checkpoints/run7/linked").symlink_to(elsewhere / "weights")
    (root / "checkpoints/run7/weights/link").symlink_to(elsewhere / "weights/best")
    (root / "checkpoints/notes.txt").write_text("mine")
    before = tree(tmp_path)
    for _ in range(2):
        store = FileStore(root)
        store.write(making.checkpoint(1.0), overwrite=True)
        store.delete(making.path)
        store.close()
    assert tree(tmp_path) == before


@pytest.mark.parametrize("link", ["checkpoints/linked", "checkpoints/run/linked", "checkpoints/run/weights/linked"])
def test_a_mark_behind_a_link_counts_for_nothing(tmp_path, link):
    root, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    for folder in (elsewhere / "a/b", elsewhere / "a", elsewhere):
        folder.mkdir(parents=True, exist_ok=True)
        (marked(folder) / "adapter_model.safetensors").write_text("mine")
    (root / link).parent.mkdir(parents=True)
    (root / link).symlink_to(elsewhere)
    before = tree(tmp_path)
    FileStore(root).close()
    assert tree(tmp_path) == before


def test_what_somebody_put_into_a_folder_of_ours_stays_when_that_goes(saved, making, caplog):
    root, folder = saved
    (folder / "notes.txt").write_text("mine")
    (folder.parent / "notes.txt").write_text("mine")
    (folder / "link").symlink_to(root)
    store = FileStore(root)
    store.delete(making.path)
    store.close()
    assert sorted(path.name for path in folder.iterdir()) == [marks.NAME, "link", "notes.txt"]
    assert "notes.txt" in caplog.text or "link" in caplog.text
    store = FileStore(root)
    assert store.checkpoints() == []
    store.close()
    assert (folder / "notes.txt").read_text() == (folder.parent / "notes.txt").read_text() == "mine"


def test_a_link_in_place_of_one_of_our_files_is_not_followed(saved, making, tmp_path):
    root, folder = saved
    (tmp_path / "theirs").write_text("mine")
    (folder / "optimizer.safetensors").unlink()
    (folder / "optimizer.safetensors").symlink_to(tmp_path / "theirs")
    store = FileStore(root)
    store.delete(making.path)
    store.close()
    assert (tmp_path / "theirs").read_text() == "mine"


def test_every_removal_is_in_the_log_with_its_reason(tmp_path, making, caplog):
    caplog.set_level(logging.INFO)
    store = FileStore(tmp_path)
    store.write(making.checkpoint(1.0), overwrite=False)
    store.write(making.checkpoint(2.0), overwrite=True)
    store.delete(making.path)
    store.close()
    (crashed := tmp_path / "checkpoints/run/weights/a,1").mkdir(parents=True)
    marked(crashed)
    FileStore(tmp_path).close()
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    for level, words in (("INFO", "saved anew"), ("INFO", "was deleted"), ("WARNING", "a crash left it")):
        assert [text for at, text in said if at == level and "removed" in text and words in text], (words, said)
    assert not crashed.exists()


def test_an_unfinished_folder_goes_and_an_unmarked_one_without_a_manifest_stays(tmp_path):
    place = tmp_path / "checkpoints/run/weights"
    (place / "a,1").mkdir(parents=True)
    (marked(place / "a,1") / "adapter_model.safetensors").write_text("half")
    shutil.copytree(place / "a,1", place / "b,2")
    marks.take(place / "b,2")
    FileStore(tmp_path).close()
    assert [path.name for path in place.iterdir()] == ["b,2"]


def test_checkpoints_whose_files_come_back_are_there_again(saved, making, tmp_path, caplog):
    root, _ = saved
    (root / "checkpoints").rename(tmp_path / "unmounted")
    store = FileStore(root)
    assert store.checkpoints() == []
    store.close()
    assert making.path in caplog.text
    shutil.rmtree(root / "checkpoints")
    (tmp_path / "unmounted").rename(root / "checkpoints")
    store = FileStore(root)
    assert store.read(making.path).adapter["a"][0, 0] == 1
    store.close()


def test_a_path_whose_files_are_gone_can_be_saved_again(saved, making):
    root, folder = saved
    shutil.rmtree(folder)
    store = FileStore(root)
    store.write(making.checkpoint(2.0), overwrite=False)
    store.close()
    store = FileStore(root)
    assert store.read(making.path).adapter["a"][0, 0] == 2
    store.close()


def test_a_database_can_not_point_out_of_the_folder(saved, making, tmp_path):
    root, folder = saved
    theirs = tmp_path / "theirs"
    shutil.copytree(folder, theirs)
    connection = sqlite3.connect(root / DATABASE)
    connection.execute("UPDATE checkpoints SET folder = ?", ("../../theirs",))
    connection.commit()
    connection.close()
    before = tree(theirs)
    store = FileStore(root, adopt=True)
    store.delete(making.path)
    store.close()
    assert tree(theirs) == before


def test_a_database_of_something_else_is_not_used(tmp_path):
    connection = sqlite3.connect(tmp_path / DATABASE)
    connection.execute("CREATE TABLE mine (a)")
    connection.close()
    before = (tmp_path / DATABASE).read_bytes()
    with pytest.raises(ConfigError, match="something else"):
        FileStore(tmp_path)
    assert (tmp_path / DATABASE).read_bytes()[100:] == before[100:], "all but the header, which names the journal"


def open_to_others(root):
    """Return what below a folder, itself included, others than its owner may touch."""
    paths = [root, *root.rglob("*")]
    return [path for path in paths if stat.S_IMODE(path.lstat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO)]


@pytest.fixture
def lax():
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("lax")
def test_what_the_server_makes_is_private(tmp_path, making):
    root = tmp_path / "new" / "data"
    store = FileStore(root)
    store.write(making.checkpoint(1.0), overwrite=False)
    store.pack(making.path, "u", root / "a.tar.gz")
    assert {path.name for path in root.rglob("*")} >= {DATABASE, f"{DATABASE}-wal", "checkpoint.json", "a.tar.gz"}
    assert not open_to_others(root)
    store.close()


@pytest.mark.usefixtures("lax")
def test_a_folder_of_ours_becomes_private_and_one_of_somebody_elses_keeps_its_rights(tmp_path):
    empty, shared = tmp_path / "empty", tmp_path / "shared"
    for root in (empty, shared):
        root.mkdir(mode=0o755)
    (shared / "notes.txt").touch(mode=0o644)
    for root in (empty, shared):
        FileStore(root).close()
    assert not open_to_others(empty)
    assert [path.name for path in open_to_others(shared)] == ["shared", "notes.txt"]
    for path in (empty, empty / DATABASE):
        path.chmod(0o755)
    FileStore(empty).close()
    assert not open_to_others(empty)


def test_a_file_that_was_cut_is_not_a_mark_of_ours(tmp_path):
    (tmp_path / marks.NAME).write_bytes(marks.CONTENT[:10])
    assert marks.is_on(tmp_path), "a crash may have cut it"
    (tmp_path / marks.NAME).write_bytes(b"something else")
    assert not marks.is_on(tmp_path)
    (tmp_path / marks.NAME).unlink()
    private.write_file(tmp_path / "x", marks.CONTENT)
    (tmp_path / marks.NAME).symlink_to(tmp_path / "x")
    assert not marks.is_on(tmp_path)
