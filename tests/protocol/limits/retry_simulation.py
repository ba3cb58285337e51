"""A small event simulation: a client that repeats what fails by the rules of the retry budget, and a failing server."""

from __future__ import annotations

import heapq
import itertools
import random

from tinker_actors.protocol.limits.retry import full_jitter
from tinker_actors.protocol.limits.retry_budget import RetryBudget


class World:
    """Events in simulated time, and one client's requests to a server.

    Args:
        fails: tells by time and endpoint whether a request that arrives then fails.
        seed: of what is drawn.
        answers_after: seconds until an answer.
        held: seconds for which a request that does not fail is held, by endpoint; it is heard of only then.
    """

    def __init__(self, fails, seed=1, answers_after=0.01, held=None):
        self.fails, self.random, self.answers_after = fails, random.Random(seed), answers_after
        self.held = held or {}
        self.budget = RetryBudget()
        self.now = 0.0
        self.sent, self.done, self.got_through = [], [], {}
        self._events, self._order = [], itertools.count()
        self._lines = {}
        self._wakes = {}

    def at(self, when, what):
        heapq.heappush(self._events, (when, next(self._order), what))

    def run(self, until):
        while self._events and self._events[0][0] <= until:
            self.now, _, what = heapq.heappop(self._events)
            what()
        self.now = until

    def ask(self, endpoint, name, failures=0):
        """Send a request, or have it wait for a token."""
        if self.budget.troubled(endpoint):
            self._lines.setdefault(endpoint, []).append((name, failures))
            self._go_on()
        else:
            self._send(endpoint, name, failures)

    def _send(self, endpoint, name, failures):
        sent = self.now
        self.sent.append((sent, endpoint, name))
        if self.fails(sent, endpoint):
            self.at(sent + self.answers_after, lambda: self._failed(endpoint, name, failures, sent))
            return
        self.got_through.setdefault((endpoint, name), sent)
        over = sent + self.held.get(endpoint, self.answers_after)
        if self.budget.troubled(endpoint) and endpoint in self.held:
            self.at(min(over, sent + self.budget.patience(endpoint)), lambda: self._well(endpoint))
        self.at(over, lambda: self._done(endpoint, name))

    def _failed(self, endpoint, name, failures, sent):
        self.budget.failed(endpoint, sent, self.now)
        delay = full_jitter(failures, self.random.random())
        failures += not self.budget.troubled(endpoint)
        self.at(self.now + delay, lambda: self.ask(endpoint, name, failures))

    def _done(self, endpoint, name):
        self.done.append((self.now, endpoint, name))
        self._well(endpoint)

    def _well(self, endpoint):
        if self.budget.succeeded(endpoint, self.now):
            self._go_on()

    def _go_on(self):
        for endpoint, line in self._lines.items():
            while line:
                wait = self.budget.take(endpoint, self.now)
                if wait:
                    self._wake(endpoint, self.now + wait)
                    break
                self._send(endpoint, *line.pop(0))

    def _wake(self, endpoint, due):
        """Go on then, and not sooner for this endpoint."""
        self._wakes[endpoint] = due
        self.at(due, lambda: self._go_on() if self._wakes[endpoint] == due else None)
