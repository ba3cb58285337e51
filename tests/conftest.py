"""What holds for every test: no settings from the host, no thread left behind."""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading

import pytest

_HANG = 30.0


# A shell that starts the tests in the background has them ignore Ctrl-C, and so would every process they start. Some
# tests are about Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish():
    """Keep what collecting made, thousands of tests, out of each later garbage collection: many tests ask for one."""
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


@pytest.fixture(autouse=True)
def _unseen_failures_told_with_their_test():
    yield
    unseen = sys.modules.get("tinker_actors.runtime.failed_future")
    if unseen is not None:
        unseen.unseen.report()
