"""urllib3 in threads: a thread for each sample in flight, one `PoolManager`, JSON by msgspec both ways.

The obvious way to write a fast client by hand, and an honest floor for one: no retries, no error handling beyond
the status, no bookkeeping. It makes the same two requests per sample with the same bodies.
"""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any

import msgspec
import urllib3

from benchmarks.measure import Meter
from benchmarks.variants.base import Job
from benchmarks.variants.wire import Chunk, Params, Promise, Prompt, Result, Retrieve, SampleRequest

_GIVE_UP = 120.0
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json"}
_OK = 200


class _Wave:
    """The samples that the threads take one by one."""

    def __init__(self, samples: int, meter: Meter | None) -> None:
        self.numbers = iter(range(samples))  # taking the next number is one step under the interpreter lock
        self.middle = samples // 2
        self.meter = meter
        self.right: list[bool] = []
        self.errors: list[BaseException] = []


class Client:
    """urllib3 in threads."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._api = job.url + "/api/v1/"
        self._pool = urllib3.PoolManager(maxsize=job.in_flight, timeout=_GIVE_UP, retries=False)
        self._seq_ids = itertools.count()
        self._encode = msgspec.json.Encoder().encode
        self._promise = msgspec.json.Decoder(Promise).decode
        self._result = msgspec.json.Decoder(Result).decode
        session = self._create("create_session", tags=[], user_metadata=None, sdk_version="0")["session_id"]
        sampler = self._create(
            "create_sampling_session", session_id=session, sampling_session_seq_id=0, base_model="stub"
        )
        self._sampler: str = sampler["sampling_session_id"]
        self._wave: _Wave | None = None
        self._begin = threading.Barrier(job.in_flight + 1)
        self._end = threading.Barrier(job.in_flight + 1)
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(job.in_flight)]
        for thread in self._threads:
            thread.start()

    def _create(self, name: str, **fields: Any) -> dict[str, Any]:
        made: dict[str, Any] = msgspec.json.decode(self._post(name, {**fields, "type": name}))
        return made

    def _post(self, name: str, body: Any) -> bytes:
        reply = self._pool.request("POST", self._api + name, body=self._encode(body), headers=_HEADERS)
        if reply.status != _OK:
            raise RuntimeError(f"{name}: {reply.status} {reply.data[:200]!r}")
        return reply.data

    def wave(self, samples: int, meter: Meter | None) -> int:
        """See `base.Client`. The threads are there already; a wave begins and ends for all of them at once."""
        self._wave = wave = _Wave(samples, meter)
        if meter is not None:
            meter.start()
        self._begin.wait()
        self._end.wait()
        if wave.errors:
            raise wave.errors[0]
        return sum(wave.right)

    def _work(self) -> None:
        while True:
            self._begin.wait()
            wave = self._wave
            if wave is None:
                return
            try:
                for number in wave.numbers:
                    wave.right.append(self._sample(number, wave.meter))
                    if wave.meter is not None and number == wave.middle:
                        wave.meter.midway()
            except Exception as error:  # handed to whoever runs the wave
                wave.errors.append(error)
            self._end.wait()

    def _sample(self, number: int, meter: Meter | None) -> bool:
        job, started = self._job, time.perf_counter()
        prompt = Prompt([Chunk(job.prompts[number % len(job.prompts)])])
        params = Params(job.workload.result_tokens)
        request = SampleRequest(self._sampler, next(self._seq_ids), job.workload.num_samples, prompt, params)
        promise = self._promise(self._post("asample", request))
        sequences = self._result(self._post("retrieve_future", Retrieve(promise.request_id))).sequences
        if meter is not None:
            job.note(started)
        tokens = [sequence.tokens for sequence in sequences]
        if meter is None:
            return job.is_right(number, tokens, [sequence.logprobs for sequence in sequences])
        return job.reads_tokens(number, tokens)

    def describe(self) -> dict[str, Any]:
        """See `base.Client`."""
        kind = type(self._pool)
        return {
            "client": f"{kind.__module__}.{kind.__qualname__}",
            "version": urllib3.__version__,
            "transport": "urllib3",
            "driver": f"{len(self._threads)} threads, each with one sample in flight",
        }

    def close(self) -> None:
        """See `base.Client`."""
        self._wave = None
        self._begin.wait()
        for thread in self._threads:
            thread.join()
        self._pool.clear()
