"""Command line: `python -m benchmarks` runs a scenario, prints its table and, if asked, writes everything as JSON."""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import msgspec

from benchmarks.measure import machine, versions
from benchmarks.processes import RunFailedError
from benchmarks.scenarios import sampling
from benchmarks.workloads import WORKLOADS


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=sampling.__doc__)
    parser.add_argument("--workload", choices=WORKLOADS, default="S", help="sizes of prompts and results")
    parser.add_argument("--in-flight", type=_positive, nargs="+", default=[64, 400], metavar="N")
    parser.add_argument("--samples", type=_positive, default=2_000, help="samples in each measured wave")
    parser.add_argument("--pairs", type=_positive, default=5, help="pairs of runs per level")
    parser.add_argument("--hold-ms", type=float, default=50.0, help="how long the stub holds each future")
    parser.add_argument("--no-pin", action="store_true", help="let the system place client and server")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure of every run")
    parser.add_argument("--check", action="store_true", help="exit with 1 unless our client is the cheaper one")
    return parser.parse_args()


def main() -> int:
    """Run and report; return the exit status."""
    arguments = _arguments()
    about = {
        "machine": machine(),
        "versions": versions(),
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
    }
    settings = sampling.Settings(
        arguments.workload,
        arguments.in_flight,
        arguments.samples,
        arguments.pairs,
        arguments.hold_ms,
        not arguments.no_pin,
    )
    try:
        report = sampling.run(settings, lambda line: print(line, file=sys.stderr, flush=True))
    except RunFailedError as error:
        print(f"The benchmark is not valid: {error}", file=sys.stderr)
        return 2
    print(sampling.table(report))
    print("Medians (smallest..largest); CPU is user + system time of the client process; the ratio is taken in pairs.")
    if arguments.json is not None:
        everything = msgspec.json.encode({**about, "scenarios": {"sampling": report}})
        arguments.json.write_bytes(msgspec.json.format(everything))
    dear = sampling.too_dear(report)
    if arguments.check and dear:
        print(f"Not cheaper than urllib3 in threads at {dear} in flight.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
