"""Plain: what the command line can say where the extras that it needs are not installed."""

from __future__ import annotations

import platform
from collections.abc import Sequence

from tinker_actors.version import VERSION

_HELP = ("-h", "--help")

_USAGE = """Usage: tinker-actors [-h | --help] COMMAND

  Fine-tune and sample language models over the Tinker API, or on an embedded server.

Commands:
  demo     Fine-tune and sample a model on this machine.
  serve    Run the embedded server until Ctrl-C.
  version  Print the version.

demo, serve and their --help need what is not installed: pip install 'tinker-actors[cli,local]'
"""


def version_text() -> str:
    """Return which version is installed, and on which Python."""
    return f"tinker-actors {VERSION} (Python {platform.python_version()})"


def plain_answer(words: Sequence[str]) -> str | None:
    """Return what is said to a command that needs no extra, with a line's end; None for other commands."""
    if tuple(words) in ((), *((word,) for word in _HELP)):
        return _USAGE
    return f"{version_text()}\n" if tuple(words) == ("version",) else None
