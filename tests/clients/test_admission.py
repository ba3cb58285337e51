"""Waiting for room in the byte budget, in a thread that may."""

from __future__ import annotations

import math
import threading
from types import SimpleNamespace

import pytest

from tinker_actors.clients.admission import wait_for_room
from tinker_actors.clients.sample_request import SampleRequest
from tinker_actors.errors import ClientClosedError
from tinker_actors.runtime.byte_budget import ByteBudget

HANG = 30.0


class Waiting:
    """A thread that waits for 5 bytes of a full budget of 10."""

    def __init__(self, max_block, patience):
        self.budget = ByteBudget(10, lambda: self.budget.admit())  # noqa: PLW0108 - it is not there yet
        self.holder = SimpleNamespace(size=10, held=0)
        self.budget.try_take(self.holder)
        self.closed = False
        self.error = None
        config = SimpleNamespace(max_block=max_block)
        self.service = SimpleNamespace(config=config, lanes=SimpleNamespace(queue_budget=self.budget))
        self.request = object.__new__(SampleRequest)
        self.request._service, self.request._place = self.service, None
        self.request.size, self.request.held = 5, 0
        self.thread = threading.Thread(target=self.wait, args=(patience,))
        self.thread.start()
        while not self.budget.waiting and self.thread.is_alive():
            self.thread.join(0.001)

    def wait(self, patience):
        try:
            wait_for_room(self.request, self.service, self, patience)
        except Exception as error:
            self.error = error
            self.request._give_room()

    def _check_open(self, what):
        if self.closed:
            raise ClientClosedError(what)

    def end(self):
        self.thread.join(HANG)
        assert not self.thread.is_alive()
        return self.error


@pytest.mark.parametrize("patience", [None, math.inf, 1e300])
def test_one_may_wait_without_end(patience):
    waiting = Waiting(math.inf, patience)
    waiting.budget.release(waiting.holder)
    assert waiting.end() is None
    assert (waiting.budget.held, waiting.budget.waiting) == (5, 0)


def test_a_client_that_closes_meanwhile_gives_back_what_was_taken():
    waiting = Waiting(HANG, None)
    waiting.closed = True
    waiting.budget.release(waiting.holder)
    assert isinstance(waiting.end(), ClientClosedError)
    assert (waiting.budget.held, waiting.budget.waiting) == (0, 0)


def test_a_client_that_closes_ends_the_waiting():
    waiting = Waiting(math.inf, None)
    waiting.closed = True
    waiting.budget.dismiss(waiting.service)
    assert isinstance(waiting.end(), ClientClosedError)
    assert (waiting.budget.held, waiting.budget.waiting) == (10, 0)
