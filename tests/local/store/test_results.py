"""Finished futures: kept through restarts, found by id and by number, the oldest dropped when there are too many."""

from __future__ import annotations

import sqlite3
import threading

import pytest

from tinker_actors.local.store.database import Database
from tinker_actors.local.store.files import FileStore
from tinker_actors.local.store.memory import MemoryStore
from tinker_actors.local.store.writer import MOST_WAITING_BYTES, Writer

MODEL = "session-1:train:0"
PATIENCE = 30.0


@pytest.fixture(params=["memory", "files"])
def store(request, open_store):
    return MemoryStore() if request.param == "memory" else open_store()


def bodies(store, count):
    found = [store.find_future(f"r0.{number}-x") for number in range(1, count + 1)]
    return "".join("-" if record is None else "0" if record.body is None else "1" for record in found)


def test_a_future_is_found_by_its_id_and_by_its_number(store, making):
    store.keep_future(making.future(7))
    assert store.find_future("r0.7-x") == making.future(7)
    assert store.find_number(MODEL, 7).request_id == "r0.7-x"
    assert store.find_future("r0.8-x") is None
    assert store.find_number(MODEL, 8) is None
    assert store.find_number("another", 7) is None


def test_a_forgotten_result_is_a_result_no_more(store, making):
    store.keep_future(making.future(1))
    store.forget_result("r0.1-x")
    store.forget_result("r0.2-x")
    assert store.find_future("r0.1-x").body is None


def test_what_was_kept_is_there_after_a_crash_with_all_that_was_noted_before(open_store, making):
    store = open_store()
    for number in (1, 2, 3):
        store.note_future(making.future(number))
    store.keep_future(making.future(4))
    store = open_store()
    assert [store.find_future(f"r0.{number}-x") for number in (1, 2, 3, 4)] == [making.future(n) for n in (1, 2, 3, 4)]


def test_the_oldest_bodies_go_first_and_their_numbers_stay(open_store, making):
    store = open_store(result_bytes=800)
    for number in range(1, 9):
        store.keep_future(making.future(number, 100))
    assert bodies(store, 8) == "11111111"
    store.keep_future(making.future(9, 100))
    assert bodies(store, 9) == "001111111", "an eighth of the limit is freed at once"
    assert store.find_number(MODEL, 1).request_id == "r0.1-x"
    store = open_store(result_bytes=800)
    store.keep_future(making.future(10, 200))
    assert bodies(store, 10) == "0000111111", "what was there before counts"


def test_the_newest_body_is_kept_whatever_its_size(open_store, making):
    store = open_store(result_bytes=50)
    store.keep_future(making.future(1, 100))
    assert bodies(store, 1) == "1"
    store.keep_future(making.future(2, 100))
    assert bodies(store, 2) == "01"


def test_rows_are_bounded_too(open_store, making):
    store = open_store(futures=8)
    for number in range(1, 10):
        store.keep_future(making.future(number))
    assert bodies(store, 9) == "--1111111"
    store = open_store(futures=8)
    for number in range(10, 40):
        store.keep_future(making.future(number))
    assert bodies(store, 39).count("1") <= 8
    assert bodies(store, 39).endswith("1111")


def test_a_thousand_notes_are_few_transactions(tmp_path, making):
    database = Database(tmp_path / "x", result_bytes=2**30, futures=10**6)
    writer = Writer(database, lambda *_: None)
    began, go_on = threading.Event(), threading.Event()
    transactions = []
    real = database._transact

    def slow(batch):
        transactions.append(len(batch))
        began.set()
        assert go_on.wait(PATIENCE)
        real(batch)

    database._transact = slow
    writer.note(making.future(0))
    assert began.wait(PATIENCE)
    for number in range(1, 1000):
        writer.note(making.future(number))
    go_on.set()
    writer.close()
    assert transactions == [1, 999]
    assert database.find_future("r0.999-x") == making.future(999)
    database.close()


def test_a_disk_that_is_too_slow_does_not_fill_the_memory(tmp_path, making, caplog):
    database = Database(tmp_path / "x", result_bytes=2**30, futures=10**6)
    writer = Writer(database, lambda *_: None)
    with database._lock:
        writer.note(making.future(1, MOST_WAITING_BYTES - 10))
        writer.note(making.future(2, 11))
        assert "too slow" in caplog.text
        writer.note(making.future(3, 10))
    writer.close()
    assert bodies(database, 3) == "1-1"
    database.close()


def test_a_transaction_that_fails_loses_no_note(tmp_path, making):
    database = Database(tmp_path / "x", result_bytes=2**30, futures=10**6)
    database.note(making.future(1))
    with pytest.raises(Exception, match="UNIQUE"):
        database.commit(making.future(2), making.future(2))
    database.commit(making.future(3))
    assert bodies(database, 3) == "1-1"
    database.close()


def fill_disk(database):
    """Let the database have no page more than it has."""
    (pages,) = database._writing.execute("PRAGMA page_count").fetchone()
    database._writing.execute(f"PRAGMA max_page_count = {pages}")


def empty_disk(database):
    database._writing.execute("PRAGMA max_page_count = 1000000")


def test_a_full_disk_does_not_fill_the_memory_and_what_fits_is_written_later(tmp_path, making, caplog):
    database = Database(tmp_path / "x", result_bytes=2**30, futures=10**6)
    writer = Writer(database, lambda *_: None)
    fill_disk(database)
    for number in range(1, 10):
        writer.note(making.future(number, MOST_WAITING_BYTES // 4))
    writer.close()
    assert database.waiting_bytes == MOST_WAITING_BYTES
    assert "disk is full" in caplog.text
    empty_disk(database)
    database.commit(making.future(10))
    assert database.waiting_bytes == 0
    assert bodies(database, 10) == "1111-----1"
    database.close()


def test_a_full_disk_is_the_error_and_nothing_is_numbered_twice(tmp_path, making):
    database = Database(tmp_path / "x", result_bytes=2**30, futures=10**6)
    fill_disk(database)
    with pytest.raises(sqlite3.OperationalError, match="full"):
        database.commit(making.future(1), making.future(2, 10**6))
    empty_disk(database)
    database.commit(making.future(3))
    assert bodies(database, 3) == "--1"
    assert database._room._counts["result_bytes"] == 10
    database.close()


def test_a_store_on_a_full_disk_can_be_closed_and_opened_again(tmp_path, making, caplog):
    store = FileStore(tmp_path)
    fill_disk(store._database)
    store.note_future(making.future(1, 10**6))
    store.close()
    assert "not on disk" in caplog.text
    FileStore(tmp_path).close()
