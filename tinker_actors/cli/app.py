"""App: the group of commands, and how each way to end becomes an exit status."""

from __future__ import annotations

from collections.abc import Sequence

import click

from tinker_actors.cli.demo import demo
from tinker_actors.cli.serve import serve
from tinker_actors.cli.version import version
from tinker_actors.errors import TinkerError

FAILED = 1
INTERRUPTED = 130
"""What shells give a program that SIGINT ended: 128 + 2."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def commands() -> None:
    """Fine-tune and sample language models over the Tinker API, or on an embedded server.

    Exit status: 0 done, 1 failed (a line on stderr says how), 2 wrong usage, 130 interrupted by Ctrl-C.
    """


for command in (demo, serve, version):
    commands.add_command(command)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return the exit status; failures become one line on stderr."""
    words = list(arguments)
    try:
        status = commands.main(words, prog_name="tinker-actors", standalone_mode=False, obj=words)
    except click.exceptions.Abort:  # what click makes of Ctrl-C
        click.echo("Interrupted.", err=True)
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (TinkerError, OSError) as error:
        click.echo(f"Error: {error}", err=True)
        return FAILED
    return int(status or 0)
