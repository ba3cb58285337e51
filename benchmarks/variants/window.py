"""The sliding window: one loop submits and waits for the oldest future; the driver of all clients that give futures.

No thread per sample: the loop keeps a deque of futures, submits until it holds as many as may be in flight, then takes
the oldest one's result. All results take the same time here, so the oldest is the next one.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from benchmarks.measure import Meter
from benchmarks.variants.base import Job

DRIVER = "one thread, sliding window, waits for the oldest future"
GIVE_UP = 120.0


class Window:
    """Makes waves of samples.

    Args:
        job: what to make.
        submit: submits a sample of this number.
        as_future: gives the `concurrent.futures.Future` in what `submit` returned; used only with callbacks.
    """

    def __init__(self, job: Job, submit: Callable[[int], Any], as_future: Callable[[Any], Any]) -> None:
        self._job = job
        self._submit = submit
        self._as_future = as_future

    def wave(self, samples: int, meter: Meter | None) -> int:
        """See `base.Client`. A latency is noted when `result` has returned, or by a callback if the spec says so."""
        job, submit, window, right = self._job, self._submit, deque[tuple[int, float, Any]](), 0
        callbacks = job.spec.callbacks and meter is not None
        if meter is not None:
            meter.start()
        for number in range(samples):
            if len(window) == job.in_flight:
                right += self._finish(*window.popleft(), meter)
            started = time.perf_counter()
            future = submit(number)
            if callbacks:
                self._as_future(future).add_done_callback(lambda _, started=started: job.note(started))
            window.append((number, started, future))
            if meter is not None and number == samples // 2:
                meter.midway()
        if meter is not None:
            meter.midway()
        middle = len(window) // 2
        while window:
            if meter is not None and len(window) == middle:
                meter.midway()
            right += self._finish(*window.popleft(), meter)
        return right

    def _finish(self, number: int, started: float, future: Any, meter: Meter | None) -> bool:
        job = self._job
        result = future.result(timeout=GIVE_UP)
        if meter is not None and not job.spec.callbacks:
            job.note(started)
        sequences = result.sequences
        tokens = [sequence.tokens for sequence in sequences]
        if meter is None:
            return job.is_right(number, tokens, [sequence.logprobs for sequence in sequences])
        return job.reads_tokens(number, tokens)
