"""Extras: whether the optional packages that a command needs are there, and what to type when they are not."""

from __future__ import annotations

from collections.abc import Sequence

from tinker_actors.errors import ConfigError
from tinker_actors.local.launching import absent

CLI = ("click", "rich")
"""Modules of the `cli` extra."""


def require(modules: Sequence[str]) -> None:
    """Find modules without importing them.

    Raises:
        ConfigError: one is missing; the message names the command that installs it.
    """
    if missing := absent(modules):
        raise ConfigError(
            f"{', '.join(missing)} can't be imported. Install what this command needs: "
            "pip install 'tinker-actors[cli,local]'"
        )
