"""Whether type checkers know the type of everything that a program can reach; run by `make check`.

pyright's `--verifytypes` reads the package as an installed one, where nothing may be left to inference: different
checkers infer differently. It takes all modules for public; what counts here is the surface (see `surface.py`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from .surface import PACKAGE, ROOT, Surface

EXPECTED: dict[str, str] = {}
"""Symbols whose type is not known, with the reason."""


def reasons(symbol: dict[str, Any]) -> list[str]:
    """Why a symbol's type is not known, of itself: not because that of another symbol is not known, which is named too.

    Args:
        symbol: as pyright reports it.
    """
    messages = [each["message"] for each in symbol["diagnostics"]]
    about_types = [each for each in messages if not each.startswith("No docstring")]
    return [each for each in about_types if "is partially unknown" not in each or "Unknown" in each]


def misses(report: dict[str, Any], names: set[str]) -> tuple[int, dict[str, list[str]]]:
    """Return how many symbols the surface has, and those whose type is not known, with the reasons.

    Args:
        report: pyright's.
        names: classes, functions and aliases of the surface.
    """
    parts = [symbol["name"].split(".") for symbol in report["typeCompleteness"]["symbols"]]
    of = [any(".".join(part[:length]) in names for length in range(1, len(part) + 1)) for part in parts]
    symbols = [each for each, is_public in zip(report["typeCompleteness"]["symbols"], of, strict=True) if is_public]
    return len(symbols), {each["name"]: reasons(each) for each in symbols if reasons(each)}


def verify(package: str = ROOT, folder: Path = PACKAGE.parent) -> dict[str, Any]:
    """Run pyright with this interpreter's packages, and return what it reports on a package in a folder."""
    scripts = Path(sys.executable).parent
    environment = os.environ | {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(folder)}
    command: list[str | Path] = [scripts / "pyright", "--verifytypes", package, "--ignoreexternal", "--outputjson"]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    report: dict[str, Any] = json.loads(ended.stdout)
    return report


def main() -> int:
    """Report, and return the exit status."""
    count, missed = misses(verify(), Surface().names)
    for name, why in missed.items():
        note = EXPECTED.get(name, "not expected")
        sys.stdout.write(f"{name}: {'; '.join(why)} ({note})\n")
    sys.stdout.write(f"{count - len(missed)} of {count} public symbols have a known type.\n")
    return int(count == 0 or set(missed) != set(EXPECTED))


if __name__ == "__main__":
    sys.exit(main())
