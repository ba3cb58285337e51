"""Command line: `python -m benchmarks.behaviour SCENARIO`, with every setting of the scenario as an option.

python -m benchmarks.behaviour soak --minutes 30 --json docs/benchmarks/soak.json
python -m benchmarks.behaviour capacity --places 8 64 --pairs 3
"""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import sys
from pathlib import Path
from typing import Any, get_origin

import msgspec

from benchmarks import targets
from benchmarks.behaviour import SCENARIOS
from benchmarks.measure import machine, versions
from benchmarks.processes import RunFailedError
from benchmarks.scenarios import Scenario, load, settings_for


def parser_for(name: str, scenario: Scenario) -> argparse.ArgumentParser:
    """Return a parser with an option for each of the scenario's settings."""
    parser = argparse.ArgumentParser(
        prog=f"python -m benchmarks.behaviour {name}",
        description=scenario.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=type(scenario.SETTINGS).__doc__,
    )
    for field in msgspec.structs.fields(scenario.SETTINGS):
        option, default = f"--{field.name.replace('_', '-')}", getattr(scenario.SETTINGS, field.name)
        if field.type is bool:
            parser.add_argument(option, action=argparse.BooleanOptionalAction, help=f"default: {default}")
        else:
            several = "+" if get_origin(field.type) is tuple else None
            parser.add_argument(option, nargs=several, help=f"default: {default}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure, and draw the .svg beside it")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a target is missed")
    return parser


def settings_from(scenario: Scenario, options: dict[str, Any]) -> Any:
    """Return the scenario's settings with these options, which are still text."""
    kinds = {field.name: field.type for field in msgspec.structs.fields(scenario.SETTINGS)}
    given = {name: value for name, value in options.items() if name in kinds and value is not None}
    converted = {name: msgspec.convert(value, kinds[name], strict=False) for name, value in given.items()}
    return settings_for(scenario, converted)


def main() -> int:
    """Run and report; return the exit status."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in SCENARIOS:
        print(f"{__doc__}\nScenarios: {', '.join(SCENARIOS)}", file=sys.stderr)
        return 2
    scenario = load(name)
    options = vars(parser_for(name, scenario).parse_args(sys.argv[2:]))
    try:
        settings = settings_from(scenario, options)
        report = scenario.run(settings, lambda line: print(line, file=sys.stderr, flush=True))
    except (RunFailedError, msgspec.ValidationError) as error:
        print(f"The benchmark is not valid: {error}", file=sys.stderr)
        return 2
    print(scenario.table(report))
    missed = targets.missed(name, scenario.values(report))
    print("\n".join(missed) or "No target is missed.")
    if options["json"] is not None:
        about = {"machine": machine(), "versions": versions()}
        command = shlex.join(["python", "-m", "benchmarks.behaviour", *sys.argv[1:]])
        everything = {**about, "command": command, "missed": missed, "report": report}
        options["json"].write_bytes(msgspec.json.format(msgspec.json.encode(everything)))
        if importlib.util.find_spec("matplotlib") is None:
            print("There is no picture: the extra `bench` is not installed.", file=sys.stderr)
        else:
            scenario.picture(report, options["json"].with_suffix(".svg"))
    return 1 if options["check"] and missed else 0


if __name__ == "__main__":
    sys.exit(main())
