"""Jobs: computations that the core wants done, and their results.

The core hands them out and takes their results back on its own thread; in between, `Job.run` touches nothing but the
engine, the store and what it was made with, so it may run on any thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from tinker_actors.wording import sentence

_LOG = logging.getLogger(__name__)

JobKind = Literal["train", "sample"]
"""Which worker does it: training, saves and loads, or sampling."""


class Success(msgspec.Struct, frozen=True, eq=False):
    """A job's result.

    Attributes:
        body: the future's result, encoded.
        value: what the core itself keeps of it.
    """

    body: bytes = b""
    value: Any = None


class Failure(msgspec.Struct, frozen=True):
    """A job's failure.

    Attributes:
        message: what happened, for people.
        category: whose fault it is: the request's or ours.
        preceding_seq_id: for an operation refused because of an earlier one: that one's number.
        refused: for a step: it was refused, and its gradients were discarded.
    """

    message: str
    category: Literal["user", "server"]
    preceding_seq_id: int | None = None
    refused: bool = False


Result = Success | Failure
Work = Callable[[], Success]
Done = Callable[[Result, float], None]
Keep = Callable[[Result], None]


class Job:
    """A computation to be done once, by one thread.

    Attributes:
        kind: which worker it is for.
        name: what it is, for logs.
        done: what the core does with the result; called by `ServiceCore.finish` only.

    Args:
        kind: see above.
        name: see above.
        work: computes.
        done: see above.
        keep: writes the result down, so that nobody hears of one that a restart would undo; None for nothing.
    """

    __slots__ = ("_keep", "_work", "done", "kind", "name")

    def __init__(self, kind: JobKind, name: str, work: Work, done: Done, keep: Keep | None = None) -> None:
        self.kind = kind
        self.name = name
        self.done = done
        self._work = work
        self._keep = keep

    def run(self) -> Result:
        """Compute. Never raises: what goes wrong is the result. ValueError means that the request was wrong."""
        result = outcome_of(self.name, self._work)
        if self._keep is not None:
            try:
                self._keep(result)
            except Exception:
                # What was done can't be undone, and its result is still in memory for whoever asks.
                _LOG.exception("the result of %s could not be kept", self.name)
        return result

    def __repr__(self) -> str:
        return f"<Job {self.kind}: {self.name}>"


def outcome_of(name: str, work: Work) -> Result:
    """Do some work; what goes wrong is its result. ValueError means that the request was wrong.

    Args:
        name: what it is, for the log.
        work: what to do.
    """
    try:
        return work()
    except RefusedStepError as refusal:
        return refusal.failure
    except ValueError as error:
        return Failure(sentence(str(error)), "user")
    except Exception as error:
        _LOG.exception("%s failed", name)
        return Failure(sentence(f"The server failed: {type(error).__name__}: {error}"), "server")


class RefusedStepError(Exception):
    """An optimizer step was not applied, because part of its gradient is missing."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure
