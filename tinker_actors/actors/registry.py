"""The registry: the only writer of the shared dict that callers read.

Sampling configuration is published here as frozen entries, one per sampler, in a snapshot that any thread reads
without asking anybody. Writing an entry also wakes the samples that are parked for it.
"""

from __future__ import annotations

import itertools
from typing import Any, Literal

import msgspec

from tinker_actors.actors.lanes import Lanes
from tinker_actors.actors.messages import Publish, Retire, SamplerChanged, Shutdown
from tinker_actors.errors import TinkerError
from tinker_actors.runtime.actor import Executor, RuntimeActor
from tinker_actors.runtime.snapshot import Snapshot

sampler_keys = itertools.count(1)
"""Registry keys; unique in the process, because lanes are shared between services."""


class SamplerEntry(msgspec.Struct, frozen=True, eq=False):
    """What a caller needs to know to sample.

    Attributes:
        state: `"creating"` (samples wait for it), `"ready"` or `"failed"`.
        sampling_session_id: the server's id, when ready.
        base_model: name of the model behind it, when known.
        model_path: the checkpoint it was made from, if any.
        weights_version: optimizer steps behind its weights; 0 for a base model, None when not known.
        error: why it failed.
    """

    state: Literal["creating", "ready", "failed"]
    sampling_session_id: str | None = None
    base_model: str | None = None
    model_path: str | None = None
    weights_version: int | None = None
    error: TinkerError | None = None


SamplerSnapshot = Snapshot[int, SamplerEntry]


class Registry(RuntimeActor):
    """Publishes entries.

    Args:
        executor: runs the actor.
        snapshot: what callers read. It outlives the actor: a restarted registry goes on with the same one.
        lanes: told when an entry changes.
    """

    def __init__(self, executor: Executor, snapshot: SamplerSnapshot, lanes: Lanes) -> None:
        super().__init__(executor)
        self._snapshot = snapshot
        self._lanes = lanes

    def receive(self, message: Any) -> Any:
        """Handle a message; see `messages`."""
        if isinstance(message, Publish):
            self._snapshot.put(message.key, message.entry)
            self._lanes.wake_sampling(SamplerChanged(message.key))
        elif isinstance(message, Retire):
            self._snapshot.remove(message.key)
            self._lanes.wake_sampling(SamplerChanged(message.key))
        elif isinstance(message, Shutdown):
            self.stop()
        else:
            super().receive(message)

    def describe(self) -> str:
        """Return how many entries there are."""
        return f"{len(self._snapshot.current)} samplers published"
