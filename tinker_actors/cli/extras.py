"""Extras: whether the optional packages that a command needs are there, and what to type when they are not."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from tinker_actors.errors import ConfigError

CLI = ("click", "rich")
"""Modules of the `cli` extra."""

LOCAL = ("starlette", "uvicorn", "safetensors")
"""Modules of the `local` extra, in which the embedded server runs."""


def require(modules: Sequence[str]) -> None:
    """Find modules without importing them.

    Raises:
        ConfigError: one is missing; the message names the command that installs it.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"{', '.join(missing)} can't be imported. Install what this command needs: "
            "pip install 'tinker-actors[cli,local]'"
        )
