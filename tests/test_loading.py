"""Loading: what the main thread needs is imported beside it, so that whoever interrupts it meets no half module."""

from __future__ import annotations

import builtins
import importlib
import signal
import sys
import threading

import pytest

from tinker_actors import loading

HANG = 60.0
SLOW = """
import threading
NAMES.append(threading.current_thread().name)
BEGUN.set()
assert GO.wait(60)
VALUE = 1
"""


@pytest.fixture
def slow(tmp_path, monkeypatch):
    """A module `slow_one` whose import stands still until `GO` is set."""
    (tmp_path / "slow_one.py").write_text(SLOW)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(loading, "_loaded", set())
    events = {"NAMES": [], "BEGUN": threading.Event(), "GO": threading.Event()}
    for name, event in events.items():
        monkeypatch.setattr(builtins, name, event, raising=False)
    yield events
    events["GO"].set()
    sys.modules.pop("slow_one", None)


@pytest.fixture
def on_signal():
    """Sets what a signal does, and sends it to the main thread when something has begun."""
    before = signal.getsignal(signal.SIGUSR1)

    def set_up(begun, handler):
        signal.signal(signal.SIGUSR1, handler)
        main = threading.main_thread().ident

        def send():
            assert begun.wait(HANG)
            signal.pthread_kill(main, signal.SIGUSR1)

        threading.Thread(target=send).start()

    yield set_up
    signal.signal(signal.SIGUSR1, before)


def use():
    loading.load("slow_one")
    from slow_one import VALUE

    return VALUE


def test_a_module_is_loaded_on_another_thread(slow):
    slow["GO"].set()
    assert use() == 1
    assert slow["NAMES"] == ["tinker-actors-loading"]
    assert use() == 1


def test_a_handler_that_interrupts_the_loading_has_the_whole_module(slow, on_signal):
    found = []

    def handler(*_):
        threading.Timer(0.05, slow["GO"].set).start()
        found.append(use())

    on_signal(slow["BEGUN"], handler)
    assert use() == 1
    assert found == [1]
    assert len(slow["NAMES"]) == 1


def test_an_interrupt_ends_the_waiting_and_not_the_import(slow, on_signal):
    def handler(*_):
        raise KeyboardInterrupt

    on_signal(slow["BEGUN"], handler)
    with pytest.raises(KeyboardInterrupt):
        use()
    slow["GO"].set()
    assert use() == 1
    assert len(slow["NAMES"]) == 1


def test_another_thread_imports_by_itself(slow):
    slow["GO"].set()
    found = []
    thread = threading.Thread(target=lambda: found.append(use()), name="mine")
    thread.start()
    thread.join()
    assert found == [1]
    assert slow["NAMES"] == ["mine"]


def test_a_module_that_is_loaded_needs_no_thread(slow, monkeypatch):
    slow["GO"].set()
    importlib.import_module("slow_one")
    monkeypatch.setattr(loading.threading, "Thread", None)
    assert use() == 1


def test_what_can_not_be_imported_is_left_to_the_import_itself():
    loading.load("no_such_module_of_ours")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_of_ours"):
        importlib.import_module("no_such_module_of_ours")


def test_where_no_thread_can_be_had_the_import_is_done_all_the_same(slow, monkeypatch):
    def refused(*_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(loading.threading.Thread, "start", refused)
    slow["GO"].set()
    assert use() == 1
    assert slow["NAMES"] == [threading.current_thread().name]


def test_a_handler_that_interrupts_the_programs_own_import_of_what_is_needed_fails_and_does_not_hang(
    slow, tmp_path, monkeypatch, on_signal
):
    """The other thread waits for a module that the interrupted program is in the middle of."""
    (tmp_path / "needs_slow.py").write_text("from slow_one import VALUE\n")
    monkeypatch.setattr(loading, "LONGEST", 0.1)
    found = []

    def handler(*_):
        try:
            loading.load("needs_slow")
            importlib.import_module("needs_slow")
        except RuntimeError as error:  # Python's own, of a circle of imports
            found.append(str(error))
        slow["GO"].set()

    on_signal(slow["BEGUN"], handler)
    importlib.import_module("slow_one")
    assert len(found) == 1
    assert "deadlock" in found[0]
