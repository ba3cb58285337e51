"""The command line: `tinker-actors`.

What it needs beyond the library is an extra, so the first thing is to see whether it is there. Nothing heavy is
imported before a command asks for it; `--help` stays quick.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tinker_actors.cli.extras import CLI, require
from tinker_actors.cli.plain import plain_answer
from tinker_actors.errors import ConfigError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    0: done. 1: it failed, and a line on stderr says how. 2: wrong usage. 130: interrupted by Ctrl-C.

    Args:
        arguments: the words behind the program's name; None takes them from `sys.argv`.
    """
    words = sys.argv[1:] if arguments is None else arguments
    try:
        require(CLI)
    except ConfigError as error:
        answer = plain_answer(words)
        if answer is not None:
            sys.stdout.write(answer)
            return 0
        sys.stderr.write(f"Error: {error}\n")
        return 1
    from tinker_actors.cli.app import run  # noqa: PLC0415 - it needs the extra that was just looked for

    return run(words)
