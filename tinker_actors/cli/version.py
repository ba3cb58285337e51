"""`tinker-actors version`: which version is installed, and on which Python."""

from __future__ import annotations

import platform

import click

from tinker_actors.version import VERSION


@click.command()
def version() -> None:
    """Print the version."""
    click.echo(f"tinker-actors {VERSION} (Python {platform.python_version()})")
