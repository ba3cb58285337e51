"""Samples at a fixed rate for minutes, on a bad network: does anything grow, is anything lost?"""

from __future__ import annotations

import gc
import logging
import os
import queue
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

import tinker_actors as ta
from benchmarks.behaviour.clients.program import first_token, main, prompt
from benchmarks.measure import Meter, threads
from benchmarks.processes import stub_stats
from benchmarks.stub.sampling_desk import tokens_for

_PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20
_DRAIN = 120.0


class Spec(msgspec.Struct, frozen=True):
    """One run.

    Attributes:
        url: the stub server.
        cores: the processors to run on.
        rate: samples a second.
        seconds: for how long.
        tokens: most tokens of each.
        result_tokens: tokens in each result.
        look_every: seconds between two looks at this process.
        leak: bytes to keep of every sample on purpose, so that the judge can be judged.
    """

    url: str
    cores: list[int]
    rate: float
    seconds: float
    tokens: int
    result_tokens: int
    look_every: float
    leak: int = 0


class _Tally:
    """What became of the samples. The submitting thread adds to `submitted`, the reading one to the rest."""

    def __init__(self) -> None:
        self.submitted = 0
        self.right = 0
        self.wrong = 0
        self.failed: Counter[str] = Counter()
        self.slowest = 0.0
        self.kept: list[bytes] = []

    @property
    def resolved(self) -> int:
        """Samples whose future is done."""
        return self.right + self.wrong + sum(self.failed.values())


def run(spec: Spec) -> dict[str, Any]:
    """Return what was seen of this process over time, and what became of every sample."""
    logging.disable(logging.CRITICAL)  # what is injected is logged, and is not to be read by anybody
    tally, series = _Tally(), []
    ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
    meter = Meter()
    with ta.ServiceClient(base_url=spec.url) as service:
        sampler = service.create_sampling_client(base_model="stub")
        params = ta.SamplingParams(max_tokens=spec.tokens)
        reading = threading.Thread(target=_read, args=(ended, tally, spec))
        reading.start()
        meter.start()
        began = time.monotonic()
        pause = threading.Event()
        next_look = began
        while (now := time.monotonic()) < began + spec.seconds:
            while tally.submitted < (now - began) * spec.rate:
                _submit(sampler, tally.submitted, params, ended)
                tally.submitted += 1
            if now >= next_look:
                series.append(_look(now - began, tally))
                next_look += spec.look_every
            pause.wait(1 / spec.rate)
        give_up = time.monotonic() + _DRAIN
        while tally.resolved < tally.submitted and time.monotonic() < give_up:
            pause.wait(0.05)
        drained = time.monotonic() - began - spec.seconds
        figures = meter.stop()
        ended.put(None)
        reading.join()
        gc.collect()
        series.append(_look(time.monotonic() - began, tally))
        server = stub_stats(spec.url)
    return {
        "series": series[:-1],
        "at_rest": series[-1],
        "submitted": tally.submitted,
        "right": tally.right,
        "wrong": tally.wrong,
        "failed": tally.failed,
        "lost": tally.submitted - tally.resolved,
        "slowest_ms": tally.slowest,
        "drained_after_seconds": drained,
        "figures": figures,
        "server": server,
    }


def _submit(sampler: Any, number: int, params: ta.SamplingParams, ended: queue.SimpleQueue[Any]) -> None:
    called = time.monotonic()
    future = sampler.sample(prompt(number), 1, params)
    future.add_done_callback(lambda done: ended.put((number, called, done)))


def _read(ended: queue.SimpleQueue[Any], tally: _Tally, spec: Spec) -> None:
    while (item := ended.get()) is not None:
        number, called, future = item
        tally.slowest = max(tally.slowest, 1000 * (time.monotonic() - called))
        error = future.exception()
        if error is not None:
            tally.failed[type(error).__name__] += 1
            continue
        right = list(future.result().sequences[0].tokens) == tokens_for(first_token(number), spec.result_tokens)
        tally.right += right
        tally.wrong += not right
        if spec.leak:
            tally.kept.append(bytes(spec.leak))


def _look(when: float, tally: _Tally) -> dict[str, float]:
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_MIB
    return {
        "seconds": when,
        "rss_mib": resident,
        "threads": threads(),
        "sockets": _sockets(),
        "pending": tally.submitted - tally.resolved,
    }


def _sockets() -> int:
    count = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            count += str(entry.readlink()).startswith("socket:")
        except FileNotFoundError:
            continue  # closed between the two looks
    return count


if __name__ == "__main__":
    main(run, Spec)
