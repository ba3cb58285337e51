"""Command line: `python -m benchmarks [sampling|engine]` prints a table and, if asked, writes all as JSON."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.measure import machine, versions
from benchmarks.processes import RunFailedError
from benchmarks.scenarios import engine, sampling
from benchmarks.workloads import WORKLOADS


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def _arguments() -> argparse.Namespace:
    about = f"{sampling.__doc__}\n{engine.__doc__}"
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenario", choices=("sampling", "engine"), nargs="?", default="sampling", help="what to run")
    parser.add_argument("--workload", choices=WORKLOADS, default="S", help="sizes of prompts and results")
    parser.add_argument("--in-flight", type=_positive, nargs="+", default=[64, 400], metavar="N")
    parser.add_argument("--samples", type=_positive, default=2_000, help="samples in each measured wave")
    parser.add_argument("--pairs", type=_positive, default=5, help="pairs of runs per level; for engine: rounds")
    parser.add_argument("--hold-ms", type=float, default=50.0, help="how long the stub holds each future")
    parser.add_argument("--no-pin", action="store_true", help="let the system place client and server")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure of every run")
    parser.add_argument("--seconds", type=float, default=2.0, help="engine: how long each measurement is at least")
    parser.add_argument(
        "--peer-python", default=sys.executable, help="engine: an interpreter that has torch and transformers"
    )
    parser.add_argument("--check", action="store_true", help="exit with 1 unless ours is as good as it is meant to be")
    return parser.parse_args()


def main() -> int:
    """Run and report; return the exit status."""
    arguments = _arguments()
    about = {
        "machine": machine(),
        "versions": versions(),
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
    }
    run = _engine if arguments.scenario == "engine" else _sampling
    try:
        report, shown, missed = run(arguments, lambda line: print(line, file=sys.stderr, flush=True))
    except RunFailedError as error:
        print(f"The benchmark is not valid: {error}", file=sys.stderr)
        return 2
    print(shown)
    if arguments.json is not None:
        everything = msgspec.json.encode({**about, "scenarios": {arguments.scenario: report}})
        arguments.json.write_bytes(msgspec.json.format(everything))
    if arguments.check and missed:
        print(missed, file=sys.stderr)
        return 1
    return 0


def _sampling(arguments: argparse.Namespace, say: Callable[[str], None]) -> tuple[dict[str, Any], str, str]:
    settings = sampling.Settings(
        arguments.workload,
        arguments.in_flight,
        arguments.samples,
        arguments.pairs,
        arguments.hold_ms,
        not arguments.no_pin,
    )
    report = sampling.run(settings, say)
    note = "Medians (smallest..largest); CPU is user + system time of the client process; the ratio is taken in pairs."
    dear = sampling.too_dear(report)
    missed = f"Not cheaper than urllib3 in threads at {dear} in flight." if dear else ""
    return report, f"{sampling.table(report)}\n{note}", missed


def _engine(arguments: argparse.Namespace, say: Callable[[str], None]) -> tuple[dict[str, Any], str, str]:
    settings = engine.Settings(peer_python=arguments.peer_python, rounds=arguments.pairs, seconds=arguments.seconds)
    report = engine.run(settings, say)
    note = "Medians (smallest..largest); the ratio is taken in rounds, against the faster of the peer's variants."
    slow = engine.too_slow(report)
    return report, f"{engine.table(report)}\n{note}", f"Too slow in {', '.join(slow)}." if slow else ""


if __name__ == "__main__":
    sys.exit(main())
