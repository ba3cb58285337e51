"""Places: where in the user's code something was asked for."""

from __future__ import annotations

import os
import sys

_PACKAGE = __file__.rsplit(os.sep, 2)[0]  # as frames have it: links are not followed


def callers_place() -> str:
    """Return `file:line` of the innermost frame outside this package, for error messages."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
