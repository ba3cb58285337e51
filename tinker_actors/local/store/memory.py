"""The store in memory: for simulations, and for servers whose checkpoints may go with them."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from tinker_actors.local.core.ports import (
    Arrays,
    Checkpoint,
    CheckpointExistsError,
    CheckpointMeta,
    CheckpointMissingError,
)


class MemoryStore:
    """Keeps copies, so that what was saved does not change with the model. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._checkpoints: dict[str, Checkpoint] = {}
        self._sessions: list[str] = []

    def write(self, checkpoint: Checkpoint, *, overwrite: bool) -> None:
        """Keep a checkpoint.

        Raises:
            CheckpointExistsError: the path is taken, and `overwrite` is false.
        """
        kept = Checkpoint(checkpoint.meta, _copied(checkpoint.adapter), _copied(checkpoint.optimizer))
        with self._lock:
            if checkpoint.meta.path in self._checkpoints and not overwrite:
                raise CheckpointExistsError(f"{checkpoint.meta.path} exists already")
            self._checkpoints[checkpoint.meta.path] = kept

    def find(self, path: str) -> CheckpointMeta | None:
        """Return what is known about a checkpoint."""
        with self._lock:
            found = self._checkpoints.get(path)
        return None if found is None else found.meta

    def read(self, path: str) -> Checkpoint:
        """Return a checkpoint.

        Raises:
            CheckpointMissingError: there is none.
        """
        with self._lock:
            found = self._checkpoints.get(path)
        if found is None:
            raise CheckpointMissingError(f"there is no checkpoint {path}")
        return found

    def remember_session(self, session_id: str) -> None:
        """Note that a session exists."""
        self._sessions.append(session_id)

    def earlier_sessions(self) -> Sequence[str]:
        """Return the sessions noted so far: a core made on a store that was used before is a restarted server."""
        return tuple(self._sessions)


def _copied(arrays: Arrays) -> Arrays:
    return {name: np.array(values) for name, values in arrays.items()}
