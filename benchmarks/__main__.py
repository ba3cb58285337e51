"""Command line: `python -m benchmarks [SCENARIO ...]` runs scenarios and prints their tables.

Without a name it runs all but those that take an environment or a time of their own (engine, soak). Every setting of a
scenario is an option.

python -m benchmarks sampling --levels 64 400 --pairs 3
python -m benchmarks soak --minutes 30 --check
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
from benchmarks.options import add_settings, settings_from, strangers
from benchmarks.processes import RunFailedError
from benchmarks.scenarios import NOT_WITH_ALL, Report, known, load


def _arguments() -> tuple[argparse.Namespace, dict[str, Any]]:
    """Return what is to be done, and the options that are settings."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"what to run: {', '.join(known())}")
    parser.add_argument("--quick", action="store_true", help="one round of everything, to see that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="put every figure in here, beside what is there")
    parser.add_argument("--summary", type=Path, metavar="FILE", help="put what is kept in here, beside what is there")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="draw SCENARIO.svg for each")
    parser.add_argument("--results", type=Path, metavar="FILE", help="write a page about all that is in the summary")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    general = {action.dest for action in parser._actions}
    add_settings(parser.add_argument_group("settings"), {name: load(name) for name in known()})
    arguments = parser.parse_args()
    unknown = set(arguments.scenarios) - set(known())
    if unknown:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}; there are {', '.join(known())}")
    if arguments.results is not None and arguments.summary is None:
        parser.error("--results is about what --summary keeps: give both")
    if arguments.pictures is not None and importlib.util.find_spec("matplotlib") is None:
        parser.error("pictures need matplotlib: install the extra `bench`")
    arguments.scenarios = arguments.scenarios or [name for name in known() if name not in NOT_WITH_ALL]
    options = {name: value for name, value in vars(arguments).items() if name not in general}
    foreign = strangers(options, [load(name) for name in arguments.scenarios])
    # What `make bench` says of them all is no mistake where one alone does not ask for it.
    if foreign and set(foreign) != {"--official-python"}:
        parser.error(f"no setting of {', '.join(arguments.scenarios)}: {', '.join(foreign)}")
    if arguments.quick:
        options["pairs"] = options["pairs"] or "1"
    return arguments, options


def main() -> int:
    """Run and report; return the exit status: 1 for a missed target (`--check`), 2 for a run that is not valid."""
    arguments, options = _arguments()
    missed: list[str] = []
    invalid: list[str] = []
    measured: dict[str, dict[str, float]] = {}
    for name in arguments.scenarios:
        try:
            measured[name] = _run(name, arguments, options, missed)
        except (RunFailedError, msgspec.ValidationError) as error:
            print(f"{name} is not valid: {error}", file=sys.stderr, flush=True)
            invalid.append(name)
    if arguments.results is not None:
        summary = results.read(arguments.summary)
        arguments.results.write_text(results.page(summary, pictures=arguments.pictures is not None))
    rows = targets.table(measured)
    if rows:
        print(f"\n{tables.text(('target', 'limit', 'measured', ''), rows)}")
    for line in missed:
        print(f"Missed: {line}", file=sys.stderr)
    if invalid:
        print(f"Not valid: {', '.join(invalid)}", file=sys.stderr)
        return 2
    return 1 if arguments.check and missed else 0


def _run(name: str, arguments: argparse.Namespace, options: dict[str, Any], missed: list[str]) -> dict[str, float]:
    """Run one scenario, print its table, write what is asked for, and return the figures that targets are about."""
    scenario = load(name)
    about: dict[str, Any] = {
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "machine": machine(),
        "versions": versions(),
    }
    started = time.monotonic()
    report = scenario.run(settings_from(scenario, options), _say)
    about["seconds"] = round(time.monotonic() - started, 1)
    print(f"\n{name} ({about['seconds']} s)\n{scenario.table(report)}", flush=True)
    if arguments.json is not None:
        _add_figures(arguments.json, name, {**about, **report})
    if arguments.summary is not None:
        results.write(arguments.summary, {**results.read(arguments.summary), name: results.kept(name, report, about)})
    if arguments.pictures is not None:
        scenario.picture(report, arguments.pictures / f"{name}.svg")
    values = scenario.values(report)
    missed += targets.missed(name, values)
    return values


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _add_figures(file: Path, name: str, report: Report) -> None:
    """Put a scenario's report into the file, in place of an older one."""
    everything: dict[str, Report] = msgspec.json.decode(file.read_bytes()) if file.exists() else {}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode({**everything, name: report}), indent=1) + b"\n")


if __name__ == "__main__":
    sys.exit(main())
