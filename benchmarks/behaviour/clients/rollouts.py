"""Rollouts at a steady rate, with or without thousands of evaluations beside them: how long does a rollout take?"""

from __future__ import annotations

import queue
import time
from typing import Any

import msgspec

import tinker_actors as ta
from benchmarks.behaviour.clients.program import GIVE_UP, main, prompt
from benchmarks.measure import Meter
from benchmarks.processes import stub_stats

# Evaluations are of many lengths, so that they end one by one and not in a wave.
_SHARES = [0.05 + 1.9 * step / 96 for step in range(97)]
_LOOK_EVERY = 0.5
_STUCK = 3.0
"""Times its usual latency after which a rollout that is not finished at the end counts too."""


class Spec(msgspec.Struct, frozen=True):
    """One run.

    Attributes:
        url: the stub server.
        cores: the processors to run on.
        rollouts: rollouts in flight.
        rollout_tokens: most tokens of each.
        evals: evaluations in flight.
        eval_tokens: most tokens of each, on average.
        priority: what the evaluations are submitted with.
        warm_up: seconds that are not measured.
        settled: samples that the server must have held at a time before anything is measured.
        seconds: seconds that are measured.
    """

    url: str
    cores: list[int]
    rollouts: int
    rollout_tokens: int
    evals: int
    eval_tokens: int
    priority: str
    warm_up: float
    settled: int
    seconds: float


def run(spec: Spec) -> dict[str, Any]:
    """Return the rollouts' latencies in milliseconds, and how many of both kinds were finished in the time."""
    with ta.ServiceClient(base_url=spec.url) as service:
        sampler = service.create_sampling_client(base_model="stub")
        views = {"rollout": sampler, "eval": sampler.with_options(priority=spec.priority)}
        params = {
            "rollout": [ta.SamplingParams(max_tokens=spec.rollout_tokens)],
            "eval": [ta.SamplingParams(max_tokens=max(1, round(share * spec.eval_tokens))) for share in _SHARES],
        }
        sampler.sample(prompt(0), 1, params["rollout"][0]).result(GIVE_UP)
        ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        under_way: dict[Any, tuple[str, float]] = {}
        submitted = {"rollout": 0, "eval": 0}

        def submit(kind: str) -> None:
            submitted[kind] += 1
            given = params[kind][submitted[kind] % len(params[kind])]
            began = time.monotonic()
            future = views[kind].sample(prompt(submitted[kind]), 1, given)
            under_way[future] = (kind, began)
            future.add_done_callback(lambda done: ended.put((done, time.monotonic())))

        for _ in range(spec.evals):
            submit("eval")
        for _ in range(spec.rollouts):
            submit("rollout")
        latencies: list[float] = []
        counts = {"rollout": 0, "eval": 0, "failed": 0}
        measuring = False

        def go_on(until: float) -> None:
            while (left := until - time.monotonic()) > 0:
                try:
                    future, when = ended.get(timeout=left)
                except queue.Empty:
                    return
                kind, began = under_way.pop(future)
                counts["failed"] += future.exception() is not None
                if measuring:
                    counts[kind] += 1
                    if kind == "rollout":
                        latencies.append(1000 * (when - began))
                submit(kind)

        go_on(time.monotonic() + spec.warm_up)
        give_up = time.monotonic() + GIVE_UP
        while stub_stats(spec.url)["most"].get("unfinished", 0) < spec.settled and time.monotonic() < give_up:
            go_on(time.monotonic() + _LOOK_EVERY)
        measuring = True
        before = stub_stats(spec.url)
        meter = Meter()
        meter.start()
        end = time.monotonic() + spec.seconds
        go_on(end)
        figures = meter.stop()
        # Rollouts that are stuck would be missing among the finished ones: they count with their age.
        stuck = _STUCK * spec.rollout_tokens
        ages = [1000 * (end - began) for kind, began in under_way.values() if kind == "rollout"]
        latencies += [age for age in ages if age > stuck]
        server = stub_stats(spec.url)
        for future in under_way:
            future.cancel()
    return {
        "latencies": latencies,
        "counts": counts,
        "submitted": submitted,
        "figures": figures,
        "server": server,
        "server_core_used": (server["cpu_seconds"] - before["cpu_seconds"]) / (server["now"] - before["now"]),
    }


if __name__ == "__main__":
    main(run, Spec)
