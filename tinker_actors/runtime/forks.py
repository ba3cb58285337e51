"""Forks: a child process has the parent's memory, but neither its threads nor a right to its connections.

What was made before the fork is of no use in the child; using it raises `ForkedError`. What belongs to the process as
a whole (threads, shared tables, locks that were held at the moment of the fork) registers here how it begins anew, so
that a client made in the child works.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import weakref
from collections.abc import Callable
from typing import Any

from tinker_actors.errors import ForkedError
from tinker_actors.loading import is_being_imported

logger = logging.getLogger("tinker_actors")

_PACKAGE = f"{__name__.partition('.')[0]}."

epoch = 0
"""How many forks lie between this process and the one that imported this module. Read it as `forks.epoch`."""

_resets: list[Callable[[], object]] = []


def on_fork(reset: Callable[[], object]) -> None:
    """Have `reset` called in every child process, right after the fork.

    It runs on the child's only thread, before any other code of the child, in the order of registration. It must not
    take a lock that existed before, since whoever held it is not there, and not wait for anything. What it raises is
    logged.
    """
    _resets.append(reset)


def check_not_forked(what: str, made: int) -> None:
    """Refuse to use in a child process what was made in its parent.

    Args:
        what: what is being done, for the message.
        made: the `epoch` in which the thing was made.

    Raises:
        ForkedError: this process was forked since.
    """
    if made != epoch:
        raise forked_error(what)


def forked_error(what: str) -> ForkedError:
    """Return the error for using in a child process what was made in its parent."""
    return ForkedError(f"{what}: made before this process ({os.getpid()}) was forked.")


def finalize(owner: object, action: Callable[..., object], *args: Any) -> weakref.finalize[..., Any]:
    """Call `action(*args)` when `owner` is collected in the process it was made in.

    Neither in a forked child nor at the exit of the interpreter: there is nobody left there who could act on it.
    """
    finalizer = weakref.finalize(owner, _unless_forked, epoch, action, *args)
    finalizer.atexit = False
    return finalizer


def _unless_forked(made: int, action: Callable[..., object], *args: Any) -> None:
    if made == epoch:
        action(*args)


def _finish_imports() -> None:
    """Wait for the modules of this package that another thread is importing: a child could never get their locks."""
    for name, module in list(sys.modules.items()):
        if name.startswith(_PACKAGE) and is_being_imported(module):
            try:
                importlib.import_module(name)
            except Exception:
                # It failed where it is needed, and is reported there.
                logger.debug("Importing %s failed in another thread", name, exc_info=True)


def _begin_anew() -> None:
    global epoch  # noqa: PLW0603 - the one fact about this process
    epoch += 1
    for reset in _resets:
        try:
            reset()
        except BaseException:
            logger.exception("%r failed in a forked child", reset)


os.register_at_fork(before=_finish_imports, after_in_child=_begin_anew)
