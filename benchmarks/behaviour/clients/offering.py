"""Offers more samples than the server takes, and looks how many come out of it.

A constant number is in flight: whenever one ends, the next is submitted, by one thread that does nothing else.
"""

from __future__ import annotations

import queue
import threading
import time
from typing import Any

import msgspec

import tinker_actors as ta
from benchmarks.behaviour.clients.program import GIVE_UP, main, prompt
from benchmarks.processes import stub_stats

_LOOK_EVERY = 0.5


class Spec(msgspec.Struct, frozen=True):
    """One run.

    Attributes:
        url: the stub server.
        cores: the processors to run on.
        offered: samples in flight, as their caller sees it.
        tokens: most tokens of each, which is how long it takes.
        warm_up: seconds that are not measured.
        seconds: seconds that are.
        adaptive: let the client find out how many the server takes.
        limit: samples in flight that the client is told not to exceed; None for no such limit.
    """

    url: str
    cores: list[int]
    offered: int
    tokens: int
    warm_up: float
    seconds: float
    adaptive: bool
    limit: int | None


def run(spec: Spec) -> dict[str, Any]:
    """Return what the stub counted at the beginning, after the warm-up and at the end, and what failed here."""
    config = ta.Config(adaptive_limit=spec.adaptive)
    with ta.ServiceClient(base_url=spec.url, config=config) as service:
        sampler = service.create_sampling_client(base_model="stub")
        view = sampler if spec.limit is None else sampler.with_options(max_in_flight=spec.limit)
        params = ta.SamplingParams(max_tokens=spec.tokens)
        sampler.sample(prompt(0), 1, params).result(GIVE_UP)
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        failed: list[str] = []
        series: list[dict[str, Any]] = [_look(spec.url)]
        over = threading.Event()
        looking = threading.Thread(target=_look_on, args=(spec.url, over, series))
        looking.start()
        under_way = set()
        for number in range(spec.offered):
            under_way.add(_submit(view, number, params, ended))
        end = time.monotonic() + spec.warm_up + spec.seconds
        number = spec.offered
        while (left := end - time.monotonic()) > 0:
            try:
                future = ended.get(timeout=left)
            except queue.Empty:
                break
            under_way.discard(future)
            if future.exception() is not None:
                failed.append(repr(future.exception()))
            under_way.add(_submit(view, number, params, ended))
            number += 1
        over.set()
        looking.join()
        series.append(_look(spec.url))
        for future in under_way:
            future.cancel()
    return {"series": series, "failed": failed[:5], "failures": len(failed), "config": repr(config)}


def _submit(view: Any, number: int, params: ta.SamplingParams, ended: queue.SimpleQueue[Any]) -> Any:
    future = view.sample(prompt(number), 1, params)
    future.add_done_callback(ended.put)
    return future


def _look_on(url: str, over: threading.Event, series: list[dict[str, Any]]) -> None:
    while not over.wait(_LOOK_EVERY):
        series.append(_look(url))


def _look(url: str) -> dict[str, Any]:
    stats = stub_stats(url)
    samples = stats["samples"]
    return {
        "now": stats["now"],
        **{name: samples.get(name, 0) for name in ("accepted", "rejected", "finished")},
        "most": stats["most"],
    }


if __name__ == "__main__":
    main(run, Spec)
