"""Temporary folders: a killed server's goes some time after nobody needs it any more, and no other one."""

from __future__ import annotations

import os
import time

import pytest

from tinker_actors.local import marks
from tinker_actors.local.process import LocalServer
from tinker_actors.local.store.files import FileStore
from tinker_actors.local.temporary import LEFT_FOR, PREFIX, hold, sweep, temporary_folder

LATER = LEFT_FOR + 60.0


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Return the folder that temporary ones are made in."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


def left(place):
    """Return a folder as a killed server leaves it, with some work in it."""
    folder = place / f"{PREFIX}left"
    folder.mkdir()
    hold(folder).close()
    FileStore(folder).close()
    return folder


def test_what_a_killed_server_left_goes_after_a_day(place):
    folder = left(place)
    sweep(place, time.time() + LEFT_FOR - 60.0)
    assert folder.exists()
    sweep(place, time.time() + LATER)
    assert not folder.exists()


def test_a_change_inside_begins_the_day_anew(place):
    folder = left(place)
    os.utime(folder / "tinker.sqlite3", (time.time() + 120.0,) * 2)
    sweep(place, time.time() + LATER)
    assert folder.exists()


def test_what_somebody_needs_stays(place):
    folder = left(place)
    with hold(folder), hold(folder):
        sweep(place, time.time() + LATER)
        assert folder.exists()
    store = FileStore(folder)  # by its name, by another server
    sweep(place, time.time() + LATER)
    assert folder.exists()
    store.close()
    with temporary_folder() as own:
        sweep(place, time.time() + LATER)
        assert own.exists()
    assert not own.exists()
    assert not folder.exists()


def test_what_is_not_such_a_folder_stays(place):
    strange = place / f"{PREFIX}strange"
    strange.mkdir()
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    hold(elsewhere).close()
    link = place / f"{PREFIX}link"
    link.symlink_to(elsewhere)
    (place / f"{PREFIX}file").write_text("x")
    sweep(place, time.time() + LATER)
    assert (strange.exists(), link.exists(), elsewhere.exists(), (place / f"{PREFIX}file").exists()) == (True,) * 4


def test_a_folder_of_another_programs_with_the_same_kind_of_name_stays(place):
    strange = place / f"{PREFIX}theirs"
    strange.mkdir()
    (strange / marks.NAME).write_text("something else")
    (strange / "work.txt").write_text("mine")
    sweep(place, time.time() + LATER)
    assert (strange / "work.txt").read_text() == "mine"


def test_whoever_names_a_left_folder_as_the_place_for_his_data_keeps_it(place):
    folder = left(place)
    with LocalServer(engine="ledger", data_dir=folder):
        pass
    sweep(place, time.time() + LATER)
    assert folder.exists()


def test_what_goes_is_in_the_log(place, caplog):
    folder = left(place)
    sweep(place, time.time() + LATER)
    assert [(record.levelname, str(folder) in record.getMessage()) for record in caplog.records] == [("WARNING", True)]


@pytest.mark.slow
def test_a_killed_server_finds_its_data_again_however_late_it_is_started(place):
    with LocalServer(engine="ledger") as server:
        folder = server.data_dir
        assert folder.parent == place
        server.kill()
        sweep(place, time.time() + LATER)
        assert folder.exists()
        server.start()
        assert server.data_dir == folder
    assert not folder.exists()


def test_a_server_that_starts_removes_what_others_left(place):
    folder = left(place)
    past = time.time() - LATER
    for path in (*folder.iterdir(), folder):
        os.utime(path, (past, past))
    with LocalServer(engine="ledger"):
        assert not folder.exists()
