"""Chaos: training and samples under every fault of the embedded server's switchboard at once, compared with a calm run.

Each fault strikes a share of all requests: some third of them goes wrong in one way or another. At the end every future
is decided, every operation was applied once and in order (the ledger engine's weights are a chain of what was applied),
and every sample has the tokens of the calm run. Only what no client can mend is left out: a session that the server
ends, and results of training that the server drops.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import msgspec

import tinker_actors as ta

FAULTS: dict[str, dict[str, Any]] = {
    "delay": {"kind": "delay", "seconds": 0.2},
    "408": {"status": 408},
    "409": {"status": 409},
    "429": {"status": 429, "retry_after": 0.2},
    "500": {"status": 500},
    "502 page": {"status": 502, "html": True},
    "503": {"status": 503, "retry_after": 0.2},
    "reset before": {"kind": "reset_before"},
    "reset in the middle": {"kind": "reset_middle"},
    "reset after": {"kind": "reset_after"},
    "reply lost": {"kind": "reply_lost"},
    "truncated": {"kind": "truncated"},
    "corrupted": {"kind": "corrupted"},
    "duplicated": {"kind": "duplicated"},
    "paused, rate": {"kind": "paused_rate_limit"},
    "paused, capacity": {"kind": "paused_capacity"},
    "evicted": {"kind": "evicted", "endpoint": "retrieve_future", "of": "sample"},
    # In all, less than the 300 s without a heartbeat after which a session is rightly lost.
    "clock": {"kind": "clock_skew", "seconds": 10.0, "times": 20},
}
"""What goes wrong; each with the same probability."""

_TOKENS = 4


class Run(msgspec.Struct):
    """What came of a run.

    Attributes:
        seconds: how long it took.
        metrics: of each training operation, or its error.
        tokens: of each sample, or its error.
        undecided: futures that were not decided in time.
    """

    seconds: float
    metrics: list[Any]
    tokens: list[Any]
    undecided: int

    @property
    def errors(self) -> list[str]:
        """The errors, as text."""
        return [value for value in (*self.metrics, *self.tokens) if isinstance(value, str)]


class Chaos(msgspec.Struct):
    """A calm run and one under faults, with how often each fault struck."""

    calm: Run
    stormy: Run
    strikes: dict[str, int]

    @property
    def problems(self) -> list[str]:
        """What should not have been; empty when all is well."""
        calm, stormy = self.calm, self.stormy
        found = [f"{run.undecided} futures are not decided" for run in (calm, stormy) if run.undecided]
        found += [f"{count} times: {error}" for error, count in Counter(stormy.errors).most_common(10)]
        if stormy.metrics != calm.metrics:
            found.append("what was applied, or its order, differs from the calm run")
        if stormy.tokens != calm.tokens:
            found.append("samples differ from the calm run")
        return found


def run(samples: int, steps: int, chance: float, *, limit: float, seed: int = 1) -> Chaos:
    """Run calmly and under faults, on one server.

    Args:
        samples: how many, all under way at once.
        steps: optimizer steps, each behind two gradients.
        chance: of each fault, for each request.
        limit: seconds after which what is not decided counts as lost.
        seed: of the faults and of the jitter.
    """
    with ta.local_server(engine="ledger", fault_seed=seed) as server:
        calm = _program(server.url, samples, steps, limit, seed)
        for name, fault in FAULTS.items():
            server.faults.add(**{"endpoint": "*", "name": name, "probability": chance, **fault})
        stormy = _program(server.url, samples, steps, limit, seed)
        strikes = {name: count.struck for name, count in server.faults.counts().items()}
        server.faults.clear()
    return Chaos(calm, stormy, strikes)


def _program(url: str, samples: int, steps: int, limit: float, seed: int) -> Run:
    begun = time.monotonic()
    with ta.ServiceClient(base_url=url, config=ta.Config(seed=seed, creation_timeout=limit)) as service:
        trainer = service.create_lora_training_client("local/ledger", rank=4, seed=0)
        sampler = service.create_sampling_client(base_model="local/ledger")
        operations: list[Any] = []
        for number in range(steps):
            operations += [trainer.forward_backward([_datum(2 * number + k)], "cross_entropy") for k in range(2)]
            operations.append(trainer.optim_step())
        drawn = [
            sampler.sample(
                ta.ModelInput.from_ints([1, 2, number % 900]),
                1,
                ta.SamplingParams(max_tokens=_TOKENS, seed=number, stop=[]),
            )
            for number in range(samples)
        ]
        decided = wait([*operations, *drawn], timeout=limit)
        seconds = time.monotonic() - begun
        return Run(
            seconds,
            [_outcome(future, lambda result: dict(result.metrics)) for future in operations],
            [_outcome(future, lambda result: list(result.sequences[0].tokens)) for future in drawn],
            len(decided.not_done),
        )


def _outcome(future: Any, read: Any) -> Any:
    if not future.done():
        return f"not decided, {future.progress().reason}"
    error = future.exception(0)
    return read(future.result(0)) if error is None else f"{type(error).__name__}: {error}"


def _datum(number: int) -> ta.Datum:
    ids = [(7 * number + k) % 900 + 1 for k in range(6)]
    return ta.Datum(ta.ModelInput.from_ints(ids[:-1]), {"target_tokens": ids[1:], "weights": [1.0] * 5})


def main() -> int:
    """Run from the command line; return 1 when something should not have been."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--chance", type=float, default=0.03, help="of each fault, for each request")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds after which what is undecided is lost")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write what came of it to this file")
    args = parser.parse_args()
    chaos = run(args.samples, args.steps, args.chance, limit=args.limit, seed=args.seed)
    print(f"calm: {chaos.calm.seconds:.1f} s, under faults: {chaos.stormy.seconds:.1f} s")
    print("struck:", ", ".join(f"{name} {count}" for name, count in chaos.strikes.items()))
    for problem in chaos.problems:
        print("WRONG:", problem)
    if args.json is not None:
        said = {"seconds": chaos.stormy.seconds, "calm_seconds": chaos.calm.seconds, "strikes": chaos.strikes}
        args.json.write_text(json.dumps({**said, "problems": chaos.problems}, indent=1) + "\n")
    return 1 if chaos.problems else 0


if __name__ == "__main__":
    sys.exit(main())
