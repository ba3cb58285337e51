"""The registry: the only writer of the shared dict that callers read.

Sampling configuration is published here as frozen entries, one per sampler, in a snapshot that any thread reads
without asking anybody. Writing an entry also wakes the samples that are parked for it.
"""

from __future__ import annotations

import itertools
from typing import Any

from tinker_actors.actors.messages import Publish, Retire, SamplerChanged, Shutdown
from tinker_actors.actors.service import Service
from tinker_actors.runtime.actor import RuntimeActor

sampler_keys = itertools.count(1)
"""Registry keys; unique in the process, because lanes are shared between services."""


class Registry(RuntimeActor):
    """Publishes entries.

    Args:
        service: what it belongs to. The snapshot is the service's, so that a restarted registry goes on with it.
    """

    def __init__(self, service: Service) -> None:
        super().__init__(service.platform.control)
        self._snapshot = service.samplers
        self._lanes = service.lanes

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
