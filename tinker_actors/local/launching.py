"""Launching: how a process becomes one that a server may run in, before numpy and the server are loaded.

numpy reads how many threads to use when it loads, and importing the package has loaded it. And arguments can be read by
everybody. So where the environment does not say one thread, or a key is among the arguments, the process is replaced by
one whose environment says both.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from tinker_actors.local import keys

EXTRA = ("starlette", "uvicorn", "safetensors")
"""Modules of the `local` extra, in which the embedded server runs."""

INSTALL = "Install what the embedded server needs: pip install 'tinker-actors[local]'"

BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
"""How many threads numpy's matrix products use is read from these when numpy loads. One makes them repeatable."""


def absent(modules: Sequence[str]) -> list[str]:
    """Return which of some modules can't be imported; none of them is."""
    return [name for name in modules if find_spec(name) is None]


def prepare(module: str, arguments: Sequence[str], given: Mapping[str, str]) -> None:
    """Replace this process, unless it is as it should be.

    Args:
        module: the program.
        arguments: of the program.
        given: the keys among its arguments: key -> owner.

    Raises:
        ConfigError: the keys in the environment can't be read, or one of them is given to another owner.
    """
    if not given and all(os.environ.get(name) == "1" for name in BLAS_VARIABLES):
        return
    environment = {**os.environ, **dict.fromkeys(BLAS_VARIABLES, "1")}
    if given:
        environment[keys.VARIABLE] = json.dumps(
            keys.joined((keys.VARIABLE, keys.keys_in(os.environ).items()), (keys.OPTION, given.items()))
        )
    command = [sys.executable, "-m", module, *without_keys(arguments)]
    os.execve(sys.executable, command, environment)  # noqa: S606 - ourselves, with the same arguments


def without_keys(arguments: Sequence[str]) -> list[str]:
    """Return arguments without those that are keys."""
    kept, left = [], iter(arguments)
    for argument in left:
        if argument == keys.OPTION:
            next(left, None)
        elif not argument.startswith(f"{keys.OPTION}="):
            kept.append(argument)
    return kept
