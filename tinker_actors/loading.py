"""Loading: what is needed by few is loaded with its first use, also where a signal handler may interrupt that.

A handler runs on the main thread, between any two instructions of what it interrupts. If that is an import, the module
is there half made: a handler that needs it fails, or waits for ever for a lock that its own thread holds (Python 3.11).
So the main thread imports nothing in the middle of a call: a thread that no handler interrupts does it, and the main
thread waits. Nothing is kept between calls but the fact that a module is loaded: a handler that comes meanwhile has a
thread of its own, which waits for the first one's. An interrupt (Ctrl-C) ends the waiting, not the import.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import threading
from types import ModuleType

LONGEST = 60.0
"""Seconds after which the main thread imports by itself what another can't.

That thread may wait for the main thread: for a module that the program itself is importing, where a handler interrupted
that. Python finds such a circle out when both import, and raises an error.
"""

_loaded: set[str] = set()


def load(*names: str) -> None:
    """Load modules, so that importing them is safe. Thread-safe; may be called in signal handlers.

    Does nothing but look where they are loaded. Stands before each import in a function. What can't be imported is left
    to that import, which raises what is wrong with it.

    Args:
        *names: full names of the modules.
    """
    if _loaded.issuperset(names):
        return
    if threading.get_ident() != threading.main_thread().ident:
        return  # no handler interrupts this thread
    if any(_is_missing(name) for name in names):
        thread = threading.Thread(target=_import, args=names, name="tinker-actors-loading", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no more threads: at the end of the interpreter, or at the system's limit
            return
        thread.join(LONGEST)
        if thread.is_alive():
            return
    _loaded.update(names)


def _is_missing(name: str) -> bool:
    module = sys.modules.get(name)
    return module is None or is_being_imported(module)


def is_being_imported(module: ModuleType) -> bool:
    """Return whether a module is half made: whoever imports it is not through."""
    return getattr(getattr(module, "__spec__", None), "_initializing", False)


def _import(*names: str) -> None:
    for name in names:
        with contextlib.suppress(Exception):  # see `load`: the import behind it says what is wrong
            importlib.import_module(name)
