"""The registry: the only writer of the shared dict that callers read.

Sampling configuration is published here as frozen entries, one per sampler, in a snapshot that any thread reads
without asking anybody. Writing an entry also wakes the samples that are parked for it. A policy has an entry too: that
of its newest sampler, which is swapped when the next one is ready.

A new state is a copy of all entries, so what has come meanwhile is written in one: the registry notes changes and
publishes them behind the messages that it finds waiting. Nobody is told of a change before it is published.
"""

from __future__ import annotations

import itertools
import logging
from collections import Counter
from collections.abc import Callable
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
from tinker_actors.runtime.actor import RuntimeActor, tell
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


class _PublishNow(msgspec.Struct, frozen=True, eq=False):
    """To the registry, from itself: publish what has changed."""


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
        self._expected: Counter[int] = Counter()  # of these, how many each policy has
        self._barriers: list[APIFuture[None]] = []
        self._changes: dict[int, SamplerEntry | None] = {}  # not published yet; None is gone
        self._to_tell: list[Callable[[], object]] = []  # when they are
        self._due = False
        self._last: Any = None  # what killed it would kill its successor

    def receive(self, message: Any) -> Any:
        """Handle a message; see `messages`."""
        self._last = message
        if isinstance(message, Publish):
            self._put(message.key, message.entry)
            self._decide(message.key, message.entry)
        elif isinstance(message, Retire):
            self._put(message.key, None)
        elif isinstance(message, _PublishNow):
            self._publish()
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
        for key in list(self._coming):
            message = self._no_longer_coming(key)
            if message is not None:
                self._not_published(message, error)
        self._publish()
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

    # ------------------------------------------------------------ entries

    def _put(self, key: int, entry: SamplerEntry | None) -> None:
        self._changes[key] = entry
        self._publish_soon()

    def _entry(self, key: int) -> SamplerEntry | None:
        """Return the newest entry, published or not."""
        return self._changes[key] if key in self._changes else self._snapshot.current.get(key)

    def _publish_soon(self) -> None:
        if not self._due:
            self._due = True
            tell(self.actor_ref, _PublishNow())

    def _publish(self) -> None:
        self._due = False
        changes, self._changes = self._changes, {}
        there = {key: entry for key, entry in changes.items() if entry is not None}
        self._snapshot.change(there, changes.keys() - there.keys())
        for key in changes:
            self._lanes.wake_sampling(SamplerChanged(key))
        to_tell, self._to_tell = self._to_tell, []
        for each in to_tell:
            each()
        self._lift_barriers()

    def _settle_then(self, future: APIFuture[Any], version: int | None, error: TinkerError | None = None) -> None:
        """Settle a publication's future when everything before is published."""
        self._to_tell.append(lambda: future._settle(version, error))
        self._publish_soon()

    # ------------------------------------------------------------ policies

    def _expect(self, message: PublishPolicy) -> None:
        current = self._entry(message.policy.key)
        if current is not None and current.state == "failed":
            self._put(message.policy.key, None)  # there is hope again
        self._expected[message.policy.key] += message.lease.key not in self._coming
        self._coming[message.lease.key] = message
        entry = self._entry(message.lease.key)
        if entry is not None:
            self._decide(message.lease.key, entry)

    def _decide(self, key: int, entry: SamplerEntry) -> None:
        """Swap the policy's entry, if the sampler is for one and is decided."""
        if not entry.decided or (message := self._no_longer_coming(key)) is None:
            return
        if entry.error is not None:
            self._not_published(message, entry.error)
            return
        current = self._entry(message.policy.key)
        if not isinstance(current, PolicyEntry) or current.order < entry.order:
            fields = msgspec.structs.asdict(entry)
            self._put(message.policy.key, PolicyEntry(**fields, lease=message.lease))
        self._tell(message.policy, entry.weights_version)
        self._settle_then(message.future, entry.weights_version)

    def _no_longer_coming(self, key: int) -> PublishPolicy | None:
        message = self._coming.pop(key, None)
        if message is not None:
            self._expected[message.policy.key] -= 1
            if not self._expected[message.policy.key]:
                del self._expected[message.policy.key]
        return message

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
        self._settle_then(message.future, None, error.replica())

    def _hopeless(self, key: int) -> bool:
        return self._entry(key) is None and key not in self._expected

    def _training_ended(self, message: TrainingEnded) -> None:
        """Have what waits for newer weights look again, and fail what waits for the first that nobody will publish."""
        for key in message.policies:
            if self._hopeless(key):
                self._put(key, PolicyEntry("failed", error=message.error))
            else:
                self._lanes.wake_sampling(SamplerChanged(key))

    def _fail_entries(self, error: TinkerError) -> None:
        failed, gone = {}, []
        for key, entry in self._snapshot.current.items():
            if isinstance(entry, PolicyEntry):
                gone.append(key)  # it holds its sampler's lease, and that the service: nobody would let go of either
            elif entry.error is None:
                failed[key] = msgspec.structs.replace(entry, state="failed", error=error)
        self._snapshot.change(failed, gone)  # at once: for each of them all of them would be copied
        for key in failed:
            self._lanes.wake_sampling(SamplerChanged(key))

    def _lift_barriers(self) -> None:
        if not self._coming and not self._due:
            barriers, self._barriers = self._barriers, []
            for future in barriers:
                future._settle(None)
