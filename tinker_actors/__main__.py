"""`python -m tinker_actors`: the same as the command `tinker-actors`."""

from __future__ import annotations

import sys

from tinker_actors.cli import main

if __name__ == "__main__":
    sys.exit(main())
