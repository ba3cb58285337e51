"""`tinker-actors version`: which version is installed, and on which Python."""

from __future__ import annotations

import click

from tinker_actors.cli.plain import version_text


@click.command()
def version() -> None:
    """Print the version."""
    click.echo(version_text())
