"""`python -m tinker_actors.local OPTIONS`: the embedded server as the child of a process that tells it all in one text.

For people there is `tinker-actors serve`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from tinker_actors.errors import TinkerError
from tinker_actors.local.launching import INSTALL, prepare
from tinker_actors.local.options import decoded


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server until it is stopped. Returns the exit status.

    Args:
        arguments: one, as `options.encoded` makes it; None for this process's own.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options = decoded("".join(given))
        prepare("tinker_actors.local", given, {})
        # Only now, so that a wrong option is answered at once and a replaced process has not loaded it in vain.
        from tinker_actors.local.serving import serve  # noqa: PLC0415 - see above

        serve(options)
    except ModuleNotFoundError as error:
        sys.stderr.write(f"The server can't start: {error.name} can't be imported. {INSTALL}\n")
        return 1
    except (TinkerError, OSError) as error:
        sys.stderr.write(f"The server can't start: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 0  # Ctrl-C is how it is stopped in a terminal; it has stopped properly by now
    return 0


if __name__ == "__main__":
    sys.exit(main())
