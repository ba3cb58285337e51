"""Failures that nobody looked at, and what a failure cost: one line for one failure, however many operations it ended.

A future that is freed with a failure nobody has seen says so here. What has the same cause within a moment is told
together, and what comes later of a cause that was told is not told again. At the end of the program nothing will be
looked at any more, so the futures that are left are told of then.
"""

from __future__ import annotations

import atexit
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Protocol

from tinker_actors.errors import PrecedingOperationFailed, StepTaintedError
from tinker_actors.runtime.threads import log_failure

logger = logging.getLogger("tinker_actors")

# Seconds for which failures are gathered from the first on. Where they keep coming, twice as long each time.
_GATHERED_FOR = 1.0
_GATHERED_AT_MOST = 60.0
# Causes that were told lately and are remembered.
_TOLD = 64
# Lines for what was gathered; what is behind them is counted only.
_MOST_LINES = 10

_COST = "_cost"

_Key = tuple[type[BaseException], str]


def cause_of(error: BaseException) -> BaseException:
    """Return the failure that an error is a consequence of; often the error itself."""
    while isinstance(error, PrecedingOperationFailed | StepTaintedError) and error.preceding is not None:
        error = error.preceding
    return error


def count_cost(error: BaseException) -> deque[str]:
    """Return where the names of the operations gather that fail with an error or a copy of it, from now on.

    Whoever asks reports them, so they are not reported as unseen.
    """
    cost: deque[str] = error.__dict__.setdefault(_COST, deque())
    return cost


def cost_of(error: BaseException) -> deque[str] | None:
    """Return where the operations that fail with this error are counted, or None."""
    return getattr(error, _COST, None)


def counted(operations: Iterable[str]) -> str:
    """Return operations as a number and their names: `3 operations (2 forward_backward, 1 optim_step)`."""
    counts = Counter(operations)
    number = counts.total()
    each = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    return f"{number} operation{'' if number == 1 else 's'} ({each})"


class Later(Protocol):
    """Runs callbacks, as `DeliveryThread` does."""

    def post_later(self, delay: float, callback: Callable[[], object]) -> None:
        """Run `callback` in `delay` seconds."""
        ...


class Unseen:
    """Gathers failures that nobody looked at, and logs them at ERROR. Thread-safe, also in finalizers.

    Args:
        later: what runs the report.
        left: returns what is not freed and nobody has looked at, when the program ends.
    """

    def __init__(self, later: Later, left: Callable[[], Iterable[tuple[str, BaseException]]]) -> None:
        self._later = later
        self._left = left
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget what was gathered: in a forked child it is the parent's."""
        self._found: deque[tuple[str, BaseException]] = deque()
        self._gathering = False
        self._watching = False
        self._pause = _GATHERED_FOR
        self._told: deque[_Key] = deque(maxlen=_TOLD)  # whose consequences are no news

    def watch(self) -> None:
        """Report at the end of the program what nobody has looked at by then. To be called when something failed."""
        if not self._watching:
            self._watching = True
            # Here and not on import: `multiprocessing` has its children forget what their imports registered.
            atexit.register(self._report_all)

    def note(self, what: str, error: BaseException) -> None:
        """Take in that nobody will look at the failure of an operation any more. Never blocks and never raises."""
        if cost_of(error) is not None:
            return
        self._found.append((what, error))
        if not self._gathering:
            self._gathering = True
            self._later.post_later(self._pause, self._report_gathered)

    def _report_gathered(self) -> None:
        self._gathering = False  # first: what comes from here on is for the next time
        found = self.report()
        self._pause = min(2 * self._pause, _GATHERED_AT_MOST) if found else _GATHERED_FOR
        if found:
            # Looks once more when nothing comes: only then the next one is told soon again.
            self._gathering = True
            self._later.post_later(self._pause, self._report_gathered)

    def report(self) -> int:
        """Log what was gathered, a line for each cause, and return how many lines there are."""
        causes: dict[_Key, tuple[BaseException, list[str]]] = {}
        while self._found:
            try:
                what, error = self._found.popleft()
            except IndexError:
                break  # the program ends meanwhile
            cause = cause_of(error)
            key = (type(cause), _text(cause))
            if cause is error or key in causes or key not in self._told:
                causes.setdefault(key, (cause, []))[1].append(what)
        self._told.extend(causes)
        groups = sorted(causes.values(), key=lambda group: -len(group[1]))
        for cause, operations in groups[:_MOST_LINES]:
            whose = operations[0] if len(operations) == 1 else counted(operations)
            logger.error("Nobody looked at the failure of %s: %s", whose, cause)
        if rest := groups[_MOST_LINES:]:
            all_of_them = counted(what for _, operations in rest for what in operations)
            logger.error("Nobody looked at the failure of %s, for %d other reasons", all_of_them, len(rest))
        return len(groups)

    def _report_all(self) -> None:
        self._watching = False
        try:
            self._found.extend((what, error) for what, error in self._left() if cost_of(error) is None)
            self.report()
        except BaseException:
            log_failure(logger, "What failed unseen could not be reported")


def _text(error: BaseException) -> str:
    text: str = getattr(error, "message", "") or str(error)
    return text
