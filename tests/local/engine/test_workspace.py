"""The workspace: computations that don't fit into memory together are done one after the other."""

from __future__ import annotations

import threading

import pytest

from tinker_actors.local.engine.workspace import Workspace

HANG = 60.0


class Computation:
    """Takes memory on a thread of its own until it is told to end."""

    def __init__(self, workspace: Workspace, size: int) -> None:
        self.begun, self._go = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(workspace, size))
        self._thread.start()

    def _run(self, workspace: Workspace, size: int) -> None:
        with workspace.taken(size):
            self.begun.set()
            assert self._go.wait(HANG)

    def end(self) -> None:
        self._go.set()
        self._thread.join(HANG)
        assert not self._thread.is_alive()


@pytest.mark.parametrize("limit", [10, None])
def test_what_fits_together_is_done_together(limit):
    workspace = Workspace(limit)
    both = [Computation(workspace, 5), Computation(workspace, 5)]
    for one in both:
        assert one.begun.wait(HANG)
    for one in both:
        one.end()


def test_what_does_not_fit_waits():
    workspace = Workspace(10)
    first = Computation(workspace, 5)
    assert first.begun.wait(HANG)
    second = Computation(workspace, 6)
    assert not second.begun.wait(0.05)
    first.end()
    assert second.begun.wait(HANG)
    second.end()


def test_what_is_larger_than_all_there_is_is_done_alone():
    workspace = Workspace(10)
    large = Computation(workspace, 100)
    assert large.begun.wait(HANG)
    small = Computation(workspace, 1)
    assert not small.begun.wait(0.05)
    large.end()
    assert small.begun.wait(HANG)
    small.end()


def test_what_fails_gives_its_memory_back():
    workspace = Workspace(10)
    for _ in range(2):
        with pytest.raises(ValueError, match="failed"), workspace.taken(10):
            raise ValueError("failed")
