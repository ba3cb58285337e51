"""The registry: the only writer of the shared dict that callers read.

Sampling configuration is published here as frozen entries, one per sampler, in a snapshot that any thread reads
without asking anybody. Writing an entry also wakes the samples that are parked for it. A policy has an entry too: that
of its newest sampler, which is swapped when the next one is ready.
"""

from __future__ import annotations

import itertools
import logging
from typing import Any

import msgspec

from tinker_actors.actors.messages import (
    Barrier,
    Publish,
    PublishPolicy,
    Retire,
    SamplerChanged,
    Shutdown,
    TrainingEnded,
)
from tinker_actors.actors.service import SamplerEntry, Service
from tinker_actors.errors import TinkerError
from tinker_actors.runtime.actor import RuntimeActor
from tinker_actors.runtime.futures import APIFuture

sampler_keys = itertools.count(1)
"""Registry keys; unique in the process, because lanes are shared between services."""


class PolicyEntry(SamplerEntry, frozen=True, eq=False):
    """What a caller needs to know to sample from a policy: its newest sampler.

    An entry that failed stands there only while there never was a sampler and nothing is being published.

    Attributes:
        lease: the newest sampler's, which keeps it published as long as it is the newest; None in a failed entry.
    """

    lease: Any = None


class Registry(RuntimeActor):
    """Publishes entries.

    Args:
        service: what it belongs to. The snapshot is the service's, so that a restarted registry goes on with it.
    """

    title = "registry"

    def __init__(self, service: Service) -> None:
        super().__init__(service.platform.control)
        self._service = service
        self._snapshot = service.samplers
        self._lanes = service.lanes
        self._coming: dict[int, PublishPolicy] = {}
        self._barriers: list[APIFuture[None]] = []
        self._last: Any = None  # what killed it would kill its successor

    def receive(self, message: Any) -> Any:
        """Handle a message; see `messages`."""
        self._last = message
        if isinstance(message, Publish):
            self._put(message.key, message.entry)
            self._decide(message.key, message.entry)
        elif isinstance(message, Retire):
            self._snapshot.remove(message.key)
            self._lanes.wake_sampling(SamplerChanged(message.key))
        elif isinstance(message, PublishPolicy):
            self._expect(message)
        elif isinstance(message, TrainingEnded):
            self._training_ended(message)
        elif isinstance(message, Shutdown):
            self.end(message.error)
        elif isinstance(message, Barrier):
            self._barriers.append(message.future)
            self._lift_barriers()
        else:
            super().receive(message)

    def describe(self) -> str:
        """Return how many entries there are, and how many policies wait for their next one."""
        coming = f", {len(self._coming)} being published" if self._coming else ""
        return f"{len(self._snapshot.current)} samplers published{coming}"

    def settle(self, error: TinkerError) -> None:
        """Fail what is being published. The successor goes on with what is; in a service that ends there is none."""
        while self._coming:
            self._not_published(self._coming.popitem()[1], error)
        if self._service.ended is not None:
            self._fail_entries(self._service.ended)

    def on_dead_letter(self, message: Any) -> None:
        """Give what came too late to the successor, but not what killed it."""
        if isinstance(message, Barrier):
            message.future._settle(None)
        elif isinstance(message, PublishPolicy | Publish | Retire | TrainingEnded) and message is not self._last:
            self._service.tell_registry(message)
        elif isinstance(message, PublishPolicy):
            assert self.ending is not None
            message.future._settle(error=self.ending.replica())

    def _put(self, key: int, entry: SamplerEntry) -> None:
        self._snapshot.put(key, entry)
        self._lanes.wake_sampling(SamplerChanged(key))

    # ------------------------------------------------------------ policies

    def _expect(self, message: PublishPolicy) -> None:
        current = self._snapshot.current.get(message.policy.key)
        if current is not None and current.state == "failed":
            self._snapshot.remove(message.policy.key)  # there is hope again
        self._coming[message.lease.key] = message
        entry = message.lease.entry()
        if entry is not None:
            self._decide(message.lease.key, entry)

    def _decide(self, key: int, entry: SamplerEntry) -> None:
        """Swap the policy's entry, if the sampler is for one and is decided."""
        if entry.state == "creating" or (message := self._coming.pop(key, None)) is None:
            return
        if entry.error is not None:
            self._not_published(message, entry.error)
            return
        current = self._snapshot.current.get(message.policy.key)
        if not isinstance(current, PolicyEntry) or current.order < entry.order:
            fields = msgspec.structs.asdict(entry)
            self._put(message.policy.key, PolicyEntry(**fields, lease=message.lease))
        self._tell(message.policy, entry.weights_version)
        message.future._settle(entry.weights_version)
        self._lift_barriers()

    def _tell(self, policy: Any, version: int | None) -> None:
        """Say in the log which version a policy has, now and then: some publish a thousand times a day."""
        left_out = policy.remarks.left_out(self.now())
        if left_out is not None:
            more = f" ({left_out} others since this was said last)" if left_out else ""
            self._service.story.says(logging.INFO, "Published version %s of policy %r%s", version, policy.name, more)

    def _not_published(self, message: PublishPolicy, error: TinkerError) -> None:
        """Leave the old version in place; when there never was one and none is coming, samples need not wait for it."""
        if self._hopeless(message.policy.key):
            self._put(message.policy.key, PolicyEntry("failed", error=error))
        message.future._settle(error=error.replica())
        self._lift_barriers()

    def _hopeless(self, key: int) -> bool:
        return key not in self._snapshot.current and all(key != other.policy.key for other in self._coming.values())

    def _training_ended(self, message: TrainingEnded) -> None:
        """Have what waits for newer weights look again, and fail what waits for the first that nobody will publish."""
        for key in message.policies:
            if self._hopeless(key):
                self._put(key, PolicyEntry("failed", error=message.error))
            else:
                self._lanes.wake_sampling(SamplerChanged(key))

    def _fail_entries(self, error: TinkerError) -> None:
        # A policy's entry holds its sampler's lease, and that the service: nobody would ever let go of either.
        for key, entry in self._snapshot.current.items():
            if isinstance(entry, PolicyEntry):
                self._snapshot.remove(key)
            elif entry.error is None:
                self._put(key, msgspec.structs.replace(entry, state="failed", error=error))

    def _lift_barriers(self) -> None:
        if not self._coming:
            barriers, self._barriers = self._barriers, []
            for future in barriers:
                future._settle(None)
