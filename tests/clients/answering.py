"""A source that answers what it is asked when the test says so."""

from __future__ import annotations

import asyncio
import functools
import threading

from tinker_actors.clients.fan_out import FanOut
from tinker_actors.errors import InvalidInputError, QueueFullError
from tinker_actors.runtime.delivery import default_delivery
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.progress import Tracker

HANG = 30.0
PARAMS = {"max_tokens": 4}


def in_loop(test):
    @functools.wraps(test)
    def run(*args, **kwargs):
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), HANG))

    return run


class Source:
    """Answers what it is asked in whatever order, with the prompt itself."""

    def __init__(self, *, at_once=False):
        self.delivery = default_delivery
        self.asked = []
        self.cancelled = []
        self.at_once = at_once
        self.room = 10**9
        self.more = threading.Event()

    def ask(self, prompt, num_samples, params, patience):
        if prompt == "bad":
            raise InvalidInputError("a bad prompt")
        if len(self.asked) >= self.room:
            raise QueueFullError(f"full, patience {patience}")
        future = APIFuture(Tracker("sample", 0.0), on_cancel=self.cancelled.append, delivery=self.delivery)
        future.prompt = prompt
        self.asked.append(future)
        self.more.set()
        if self.at_once is True or (prompt and self.at_once == prompt):
            self.answer(-1)
        return future

    def answer(self, index, error=None):
        self.asked[index]._settle(self.asked[index].prompt, error)

    def map(self, prompts, in_flight=None, *, ordered=False, on_error="raise", num_samples=1, params=PARAMS):
        prompts = list(prompts) if isinstance(prompts, str) else prompts
        return FanOut(
            self.delivery, self.ask, prompts, num_samples, params, in_flight, ordered=ordered, on_error=on_error
        )

    def prompts_cancelled(self):
        """Wait until what is cancelled elsewhere is, and return the prompts."""
        passed = threading.Event()
        self.delivery.post(passed.set)
        assert passed.wait(HANG)
        return [future.prompt for future in self.cancelled]


def begun(fan_out):
    """Have it ask for what it has room for."""
    assert fan_out._step() is None
    return fan_out
