"""Command line: `python -m benchmarks [SCENARIO ...]` runs scenarios and prints their tables.

Without a name it runs all but those that take an environment or a time of their own (engine, soak).
"""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import results, tables, targets
from benchmarks.measure import machine, versions
from benchmarks.processes import RunFailedError
from benchmarks.scenarios import NOT_WITH_ALL, known, load, settings_for


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not at least 1")
    return number


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"what to run: {', '.join(known())}")
    parser.add_argument("--quick", action="store_true", help="one round of everything, to see that it works")
    parser.add_argument("--pairs", type=_positive, help="rounds; default: what the scenario says, 5 or more")
    parser.add_argument("--levels", type=_positive, nargs="+", metavar="N", help="samples in flight")
    parser.add_argument("--samples", type=_positive, help="samples in each measured wave; default: by the level")
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="who takes part; default: all")
    parser.add_argument("--hold-ms", type=float, help="how long the stub holds each future")
    parser.add_argument("--seconds", type=float, help="engine: how long each measurement is at least")
    parser.add_argument("--no-pin", action="store_true", help="let the system place client and server")
    parser.add_argument("--official-python", help="an interpreter that has tinker==0.38.0, without torch")
    parser.add_argument("--peer-python", help="engine: an interpreter that has torch and transformers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="put every figure in here, beside what is there")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="draw SCENARIO.svg for each")
    parser.add_argument("--results", type=Path, metavar="FILE", help="write a page about all that is in the JSON file")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    arguments = parser.parse_args()
    unknown = set(arguments.scenarios) - set(known())
    if unknown:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}; there are {', '.join(known())}")
    if arguments.results is not None and arguments.json is None:
        parser.error("--results is about what --json keeps: give both")
    if arguments.pictures is not None and importlib.util.find_spec("matplotlib") is None:
        parser.error("pictures need matplotlib: install the extra `bench`")
    return arguments


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what the command line says about settings, by the names of their fields."""
    options = {name: getattr(arguments, name) for name in ("samples", "hold_ms", "seconds", "peer_python")}
    options["official_python"] = arguments.official_python
    options["pairs"] = arguments.pairs or (1 if arguments.quick else None)
    options["pin"] = False if arguments.no_pin else None
    options["levels"] = tuple(arguments.levels) if arguments.levels else None
    options["variants"] = tuple(arguments.variants) if arguments.variants else None
    return options


def main() -> int:
    """Run and report; return the exit status: 1 for a missed target (`--check`), 2 for a run that is not valid."""
    arguments = _arguments()
    names = arguments.scenarios or [name for name in known() if name not in NOT_WITH_ALL]
    missed: list[str] = []
    invalid: list[str] = []
    measured: dict[str, dict[str, float]] = {}
    for name in names:
        try:
            measured[name] = _run(name, arguments, missed)
        except RunFailedError as error:
            print(f"{name} is not valid: {error}", file=sys.stderr, flush=True)
            invalid.append(name)
    if arguments.results is not None and arguments.json.exists():
        kept = msgspec.json.decode(arguments.json.read_bytes())
        arguments.results.write_text(results.page(kept, pictures=arguments.pictures is not None))
    rows = targets.table(measured)
    if rows:
        print(f"\n{tables.text(('target', 'limit', 'measured', ''), rows)}")
    for line in missed:
        print(f"Missed: {line}", file=sys.stderr)
    if invalid:
        print(f"Not valid: {', '.join(invalid)}", file=sys.stderr)
        return 2
    return 1 if arguments.check and missed else 0


def _run(name: str, arguments: argparse.Namespace, missed: list[str]) -> dict[str, float]:
    """Run one scenario, print its table, write what is asked for, and return the figures that targets are about."""
    scenario = load(name)
    about: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "machine": machine(),
        "versions": versions(),
    }
    started = time.monotonic()
    report = scenario.run(settings_for(scenario, _options(arguments)), _say)
    about["seconds"] = round(time.monotonic() - started, 1)
    print(f"\n{name} ({about['seconds']} s)\n{scenario.table(report)}", flush=True)
    if arguments.json is not None:
        _keep(arguments.json, name, {**about, **report})
    if arguments.pictures is not None:
        scenario.picture(report, arguments.pictures / f"{name}.svg")
    values = scenario.values(report)
    missed += targets.missed(name, values)
    return values


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _keep(file: Path, name: str, report: dict[str, Any]) -> None:
    """Put a scenario's report into the file, in place of an older one."""
    everything = msgspec.json.decode(file.read_bytes()) if file.exists() else {"scenarios": {}}
    everything["scenarios"][name] = report
    file.write_bytes(msgspec.json.format(msgspec.json.encode(everything), indent=1) + b"\n")


if __name__ == "__main__":
    sys.exit(main())
