"""`tinker-actors version`: which version is installed, and on which Python."""

from __future__ import annotations

import platform

import click


@click.command()
def version() -> None:
    """Print the version."""
    from tinker_actors.clients.machine import version as installed  # noqa: PLC0415 - loads the clients

    click.echo(f"tinker-actors {installed()} (Python {platform.python_version()})")
