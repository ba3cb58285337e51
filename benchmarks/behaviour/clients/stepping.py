"""Training steps while thousands of samples are queued, then a main thread that keeps the interpreter busy."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from typing import Any

import msgspec

import tinker_actors as ta
from benchmarks.behaviour.clients.program import GIVE_UP, main, prompt
from benchmarks.processes import stub_stats

_TOKENS = 16
_PAUSE = 0.1
_PATIENCE = 30.0


class Spec(msgspec.Struct, frozen=True):
    """One run.

    Attributes:
        url: the stub server.
        cores: the processors to run on.
        samples: samples that are queued before the second half of the steps.
        tokens: most tokens of each.
        feed: submit another sample whenever one ends.
        accepted: how many of them the server is to have accepted before the steps are taken.
        steps: training steps without, and as many with, the samples.
        burn: seconds for which the main thread computes in pure Python afterwards.
        heartbeat: seconds between heartbeats.
    """

    url: str
    cores: list[int]
    samples: int
    tokens: int
    feed: bool
    accepted: int
    steps: int
    burn: float
    heartbeat: float


def run(spec: Spec) -> dict[str, Any]:
    """Return how long each step took to reach the server, and how far heartbeats were apart."""
    config = ta.Config(heartbeat_interval=spec.heartbeat)
    with ta.ServiceClient(base_url=spec.url, config=config) as service:
        training = service.create_lora_training_client("stub")
        training.get_info()
        sampler = service.create_sampling_client(base_model="stub")
        params = ta.SamplingParams(max_tokens=spec.tokens)
        sampler.sample(prompt(0), 1, ta.SamplingParams(max_tokens=1)).result(GIVE_UP)
        _step(training)
        calls = [_step(training) for _ in range(spec.steps)]
        began = time.monotonic()
        crowd = _Crowd(sampler, params, feed=spec.feed)
        for _ in range(spec.samples):
            crowd.add()
        submitting = time.monotonic() - began
        _wait_until_accepted(spec)
        before = stub_stats(spec.url)
        calls += [_step(training) for _ in range(spec.steps)]
        after = stub_stats(spec.url)
        burnt = _burn(spec.burn)
        stats = stub_stats(spec.url)
        crowd.disperse()
    arrivals = _arrivals(stats["arrivals"])
    reached = [
        {"forward_backward": 1000 * (passed - called), "optim_step": 1000 * (stepped - called)}
        for called, passed, stepped in zip(
            calls, arrivals["forward_backward"][1:], arrivals["optim_step"][1:], strict=True
        )
    ]
    return {
        "alone": reached[: spec.steps],
        "beside": reached[spec.steps :],
        "samples": {"before": before["samples"], "after": after["samples"]},
        "submitting_seconds": submitting,
        "burnt": burnt,
        "heartbeats": arrivals["session_heartbeat"],
    }


class _Crowd:
    """Samples in flight. Ended ones are replaced by a thread of their own, if at all."""

    def __init__(self, sampler: Any, params: ta.SamplingParams, *, feed: bool) -> None:
        self._sampler, self._params = sampler, params
        self._under_way: dict[int, Any] = {}
        self._numbers = itertools.count()
        self._ended: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._feeder = threading.Thread(target=self._replace) if feed else None
        if self._feeder is not None:
            self._feeder.start()

    def add(self) -> None:
        """Submit one more."""
        number = next(self._numbers)
        future = self._sampler.sample(prompt(number), 1, self._params)
        self._under_way[number] = future
        if self._feeder is not None:
            future.add_done_callback(lambda _: self._ended.put(number))

    def _replace(self) -> None:
        while (number := self._ended.get()) is not None:
            del self._under_way[number]
            self.add()

    def disperse(self) -> None:
        """Cancel what is left."""
        if self._feeder is not None:
            self._ended.put(None)
            self._feeder.join()
        for future in self._under_way.values():
            future.cancel()


def _step(training: Any) -> float:
    """Take a step and return when it was called for."""
    datum = ta.Datum(prompt(1), {"target_tokens": list(range(32)), "weights": [1.0] * 32})
    called = time.monotonic()
    passed = training.forward_backward([datum], "cross_entropy")
    stepped = training.optim_step(ta.AdamParams())
    passed.result(GIVE_UP)
    stepped.result(GIVE_UP)
    threading.Event().wait(_PAUSE)
    return called


def _wait_until_accepted(spec: Spec) -> None:
    give_up = time.monotonic() + _PATIENCE
    while stub_stats(spec.url)["samples"].get("accepted", 0) < spec.accepted and time.monotonic() < give_up:
        threading.Event().wait(_PAUSE)


def _burn(seconds: float) -> dict[str, float]:
    """Compute in pure Python, and return from when to when, and how much of a core this thread had."""
    began, cpu, number = time.monotonic(), time.thread_time(), 0
    while time.monotonic() - began < seconds:
        for index in range(1_000):
            number = (number * 31 + index) % 1_000_003
    ended = time.monotonic()
    return {"began": began, "ended": ended, "cpu_seconds": time.thread_time() - cpu}


def _arrivals(noted: list[tuple[str, float]]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"forward_backward": [], "optim_step": [], "session_heartbeat": []}
    for name, when in noted:
        found[name].append(when)
    return found


if __name__ == "__main__":
    main(run, Spec)
