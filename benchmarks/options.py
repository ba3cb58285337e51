"""Options: the settings of scenarios as options of the command line, under the names that they have there."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, get_origin

import msgspec

from benchmarks.scenarios import Scenario, settings_for


def add_settings(parser: argparse.ArgumentParser, scenarios: Mapping[str, Scenario]) -> None:
    """Add an option for each setting that any of the scenarios has; its value stays the text that was given."""
    fields: dict[str, list[tuple[str, msgspec.structs.FieldInfo]]] = {}
    for name, scenario in scenarios.items():
        for field in msgspec.structs.fields(scenario.SETTINGS):
            fields.setdefault(field.name, []).append((name, field))
    for name, found in sorted(fields.items()):
        option, kinds = f"--{name.replace('_', '-')}", [field.type for _, field in found]
        help_text = f"of {', '.join(scenario for scenario, _ in found)}"
        if bool in kinds:
            parser.add_argument(option, action=argparse.BooleanOptionalAction, help=help_text)
        else:
            several = "+" if any(get_origin(kind) is tuple for kind in kinds) else None
            parser.add_argument(option, nargs=several, help=help_text)


def settings_from(scenario: Scenario, options: Mapping[str, Any]) -> Any:
    """Return a scenario's settings with those of the options that it has, which are still text.

    Raises:
        msgspec.ValidationError: one can't be what the setting is to be.
    """
    kinds = {field.name: field.type for field in msgspec.structs.fields(scenario.SETTINGS)}
    given = {name: value for name, value in options.items() if name in kinds and value is not None}
    return settings_for(scenario, {name: _converted(name, value, kinds[name]) for name, value in given.items()})


def _converted(name: str, value: Any, kind: Any) -> Any:
    single = isinstance(value, list) and get_origin(kind) is not tuple and len(value) == 1
    try:
        return msgspec.convert(value[0] if single else value, kind, strict=False)
    except msgspec.ValidationError as error:
        raise msgspec.ValidationError(f"--{name.replace('_', '-')}: {error}") from None


def strangers(options: Mapping[str, Any], scenarios: Sequence[Scenario]) -> list[str]:
    """Return the options given that are a setting of none of these scenarios."""
    known = {field.name for scenario in scenarios for field in msgspec.structs.fields(scenario.SETTINGS)}
    return [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None and name not in known]
