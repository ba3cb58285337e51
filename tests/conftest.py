"""What holds for every test: no settings from the host, no thread left behind, one thread for arithmetic.

`make test` runs most tests in several processes, a file in one of them, and afterwards, one by one, those that are
marked `alone`. Without options, pytest runs all of them one by one.
"""

from __future__ import annotations

import collections
import gc
import importlib
import os
import signal
import sys
import threading
from collections import Counter

import pytest

from tinker_actors.actors.lane.work import Work
from tinker_actors.protocol import work_life

_HANG = 30.0


def _load_numpy_with_one_thread() -> None:
    """As in the embedded server's process. The products in tests are small; threads would wait for them in busy loops.

    numpy reads it from the environment as it loads; what tests start reads its own.
    """
    before = dict(os.environ)
    os.environ.update(dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1"))
    importlib.import_module("numpy")
    os.environ.clear()
    os.environ.update(before)


_load_numpy_with_one_thread()

# A shell that starts the tests in the background has them ignore Ctrl-C, and so would every process they start. Some
# tests are about Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser):
    parser.addoption(
        "--alone", choices=["only", "without"], help="run tests that are marked `alone` only, or not at all"
    )


def pytest_make_parametrize_id(val, argname):
    """Name gzipped bytes by their argument: they begin with the time, and a name must be the same in every process."""
    return argname if isinstance(val, bytes) and b"\x1f\x8b" in val else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Choose by `--alone`; where files are shared out among processes, begin with those that take long."""
    asked = config.getoption("alone")
    if asked is not None:
        sides = {True: [], False: []}
        for item in items:
            sides[item.get_closest_marker("alone") is not None].append(item)
        items[:] = sides[asked == "only"]
        config.hook.pytest_deselected(items=sides[asked != "only"])
    if hasattr(config, "workerinput"):
        slow = Counter(item.path for item in items if item.get_closest_marker("slow") is not None)
        items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(scope="module", autouse=True)
def _garbage_of_one_module():
    """Keep what collecting and earlier modules made out of each later garbage collection: many tests ask for one."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _no_settings_from_the_host(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("TINKER_", "CLOUDFLARE_ACCESS_")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_thread_left_behind():
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if not thread.daemon:
            thread.join(_HANG)
            assert not thread.is_alive(), f"{thread} outlived its test, and would keep the interpreter alive"


class _Watched:
    """`Work.state` as the tests see it: each change is held against the table, and counted."""

    def __init__(self, slot):
        self.slot = slot
        self.seen = collections.Counter()
        self.wrong = []

    def __get__(self, work, kind=None):
        return self if work is None else self.slot.__get__(work, kind)

    def __set__(self, work, after):
        try:
            before = self.slot.__get__(work)
        except AttributeError:  # it is being made
            before = None
        self.slot.__set__(work, after)
        if before is not None:
            self.seen[before, after] += 1
            try:
                work_life.check(before, after, frozenset(flag for flag in work_life.FLAGS if getattr(work, flag)))
            except work_life.IllegalTransitionError as error:
                self.wrong.append(f"{work.tracker.what}: {error}")  # what is raised on a lane, the lane survives
                raise


Work.state = _Watched(Work.state)


@pytest.fixture(scope="session")
def lives():
    """What the lanes of this process did with their works."""
    return vars(Work)["state"]


@pytest.fixture(autouse=True)
def _no_work_lives_otherwise(lives):
    yield
    wrong, lives.wrong = lives.wrong, []
    assert not wrong


@pytest.fixture(autouse=True)
def _unseen_failures_told_with_their_test():
    yield
    unseen = sys.modules.get("tinker_actors.runtime.failed_future")
    if unseen is not None:
        unseen.unseen.report()
