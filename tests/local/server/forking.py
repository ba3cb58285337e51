"""A program that starts servers by forking: all modules are loaded, so that one is there within milliseconds.

Reads a line with a data folder, runs the real `serve` on it in a child, tells how that ended, and reads the next line.
The child reads the same pipe for its end, so that it does not outlive the test whatever happens to that.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from tinker_actors.local.options import ServerOptions
from tinker_actors.local.serving import serve


def main() -> None:
    while line := sys.stdin.readline():
        child = os.fork()
        if child == 0:
            try:
                serve(ServerOptions(data_dir=Path(line.strip()), until_eof=True))
            except BaseException:
                traceback.print_exc()
            os._exit(1)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
