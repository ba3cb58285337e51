"""A sample on its way, and what keeps its sampler published meanwhile.

Hot path: one of these per sample, made in the caller's thread and asked by the lane when the sample may go.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any, Protocol

from tinker_actors.actors.lane.work import Work
from tinker_actors.actors.messages import Retire, SamplerChanged
from tinker_actors.actors.registry import sampler_keys
from tinker_actors.actors.service import SamplerEntry, Service
from tinker_actors.errors import SamplerLostError, TinkerError
from tinker_actors.protocol.replies.outcomes import Accepted, Done
from tinker_actors.protocol.replies.plain import CLONE_RANGE
from tinker_actors.protocol.replies.sample_results import sample_response
from tinker_actors.protocol.requests.operations import head
from tinker_actors.runtime.actor import Ref, tell
from tinker_actors.runtime.byte_budget import Place
from tinker_actors.runtime.forks import finalize
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.progress import Tracker, WaitReason
from tinker_actors.types.sampling import SampleResponse

Read = Callable[[SampleResponse], Any]


class SamplerLease:
    """What keeps a sampler published: held by its handle and by every sample that is not finished.

    When the last of them is gone, the entry is retired and the actor stops.
    """

    __slots__ = ("__weakref__", "_prefix", "_snapshot", "key", "numbers")

    def __init__(self, key: int, service: Service, actor_ref: Ref) -> None:
        self.key = key
        self.numbers = itertools.count()
        self._snapshot = service.samplers
        self._prefix: tuple[SamplerEntry | None, bytes, int] = (None, b"", 0)
        finalize(self, _retire, actor_ref, service, key)

    def entry(self) -> SamplerEntry | None:
        """Return the published entry: one attribute read, one dict lookup."""
        return self._snapshot.current.get(self.key)

    def head(self, entry: SamplerEntry) -> bytes:
        """Return the head of a request to a sampler that is ready, with a fresh number. Thread-safe.

        All heads of an entry are alike up to the number, so only that is written anew.
        """
        known, prefix, first = self._prefix
        if known is not entry:
            prefix = head(sampling_session_id=entry.sampling_session_id, seq_id=0).removesuffix(b"0,")
            first = entry.clone_id * CLONE_RANGE
            self._prefix = (entry, prefix, first)
        return b"%b%d," % (prefix, first + next(self.numbers))


def _retire(actor_ref: Ref, service: Service, key: int) -> None:
    """Retire a sampler nobody holds any more, through its actor or, when that is dead, directly."""
    if not tell(actor_ref, Retire(key)):
        tell(service.registry, Retire(key))


class SampleRequest:
    """One sample on its way: tells the lane when it may go, and settles its future.

    Future, request and work know each other while the sample is under way. The ties are cut when it ends, so that
    results are freed when the last reader lets go of them and not when the cycle collector comes by.

    Attributes:
        future: of the response; None once the sample is over.
        work: what the lane carries; None before and after.
        key: what has to change before `head` can say more: the sampler's registry key, or one of this request's own
            while it waits for memory.
        reason: why `head` said None last.
        size: bytes it counts for in the byte budget.
        held: bytes it holds there by itself; what it waited for is held by its place in the line.
    """

    __slots__ = (
        "_entry", "_ids", "_lease", "_line_key", "_place", "_prompt_length", "_service", "future", "held", "key",
        "reason", "size", "work",
    )  # fmt: skip

    def __init__(
        self, service: Service, lease: SamplerLease | None, prompt_length: int, tracker: Tracker, read: Read | None
    ) -> None:
        self._lease = lease
        self.key = 0 if lease is None else lease.key
        self._service = service
        self._prompt_length = prompt_length
        self._entry: SamplerEntry | None = None
        self._ids: list[str] | None = None
        self._place: Place | None = None
        self.reason: WaitReason = "waiting for its sampler"
        self.size = self.held = 0
        self.work: Work | None = None
        self.future: APIFuture[Any] | None = APIFuture(
            tracker, decode=read, on_cancel=self._cancel, delivery=service.platform.delivery
        )

    # ------------------------------------------------------------ waiting for memory

    def stand_in_line(self) -> bool:
        """Wait for room in the byte budget without blocking; return whether there is room for waiting, at least."""
        self._line_key = next(sampler_keys)
        self._place = Place(self.size, self._look_again)
        return self._service.lanes.queue_budget.stand(self._place, capped=True)

    def block(self, seconds: float) -> bool:
        """Wait for room in the byte budget on this thread, for so long at most; return whether there was some."""
        gate = threading.Lock()
        gate.acquire()
        self._place = Place(self.size, gate.release, owner=self._service)
        return self._service.lanes.queue_budget.take(self._place, gate, seconds)

    def _look_again(self) -> None:
        self._service.lanes.wake_sampling(SamplerChanged(self._line_key))

    def _in_line(self) -> bool:
        if self._place is None or self._place.state != "waiting":
            return False
        self.key = self._line_key
        self.reason = "queued here"
        return True

    def _give_room(self) -> None:
        """Give back what was taken from the byte budget, or leave its line: when the future is decided."""
        budget = self._service.lanes.queue_budget
        if self._place is None:
            budget.release(self)
        else:
            budget.leave(self._place)

    # ------------------------------------------------------------ for the lane

    @property
    def channel(self) -> tuple[str, int] | None:
        """What `retrieve_futures` knows the sample's completions by, or None when its future is polled alone."""
        entry, service = self._entry, self._service
        use = service.config.use_retrieve_futures
        if entry is None or not (service.server.sample_use_retrieve_futures if use is None else use):
            return None
        return (str(entry.sampling_session_id), entry.clone_id)

    def head(self) -> bytes | TinkerError | None:
        """Return the head with a fresh number, the sampler's error, or None while something is waited for."""
        if self._place is not None and self._in_line():
            return None
        lease = self._lease
        assert lease is not None
        entry = lease.entry()
        if entry is not None and entry.state == "ready":
            self._entry = entry
            return lease.head(entry)
        if entry is not None and entry.error is not None:
            return entry.error.replica()
        self.key = lease.key
        recovering = entry is not None and entry.state == "recovering"
        self.reason = "recovering" if recovering else "waiting for its sampler"
        return None

    def accepted(self, work: Work, outcome: Accepted) -> None:  # noqa: ARG002 - the port's signature
        """Keep the names of the sequences."""
        self._ids = outcome.sample_sequence_ids
        if self.future is not None:
            self.future._accept(outcome.request_id)

    def read(self, work: Work, content_type: str, body: bytes) -> SampleResponse:
        """Read the result: once, when it comes, so that a damaged one can be asked for again."""
        version = None if self._entry is None else self._entry.weights_version
        return sample_response(content_type, body, self._prompt_length, version, self._ids, work.tail.expected)

    def done(self, work: Work, outcome: Done) -> None:  # noqa: ARG002 - the port's signature
        """Settle with the result."""
        self._settle(outcome.value, None)

    def failed(self, work: Work, error: TinkerError) -> None:  # noqa: ARG002 - the port's signature
        """Settle with the error."""
        self._settle(None, error)

    def owed(self) -> APIFuture[Any] | None:
        """Return the future."""
        return self.future

    def gone(self, work: Work, error: TinkerError) -> bool:
        """Sample anew: a sample changes nothing on the server, so doing it again is safe."""
        fresh = self.head()
        if not isinstance(fresh, bytes):
            self._settle(None, SamplerLostError(f"The sampler is gone: {error.message}", request_id=work.request_id))
            return False
        work.renew(fresh)
        return True

    # ------------------------------------------------------------ endings

    def _settle(self, outcome: SampleResponse | None, error: TinkerError | None) -> None:
        future, self.future, self.work = self.future, None, None
        self._lease = None  # the sampler may go, even if nobody ever reads the result
        if future is not None and future._settle(outcome, error):
            self._give_room()

    def _cancel(self, _: APIFuture[Any]) -> None:
        """Take it back from the lane. May be interrupted, and is done again then: the ties are cut last."""
        self._give_room()
        if self.work is not None:
            self._service.lanes.cancel("sample", self.work)
        self.future = self.work = None


class Choosing(Protocol):
    """What chooses the sampler of a request whose sampler is not there yet. Asked on the lane's thread."""

    key: int
    reason: WaitReason

    def choose(self) -> SamplerLease | TinkerError | None:
        """Return the sampler to use, why there will be none, or None to be asked again when `key` changes."""
        ...


class LateRequest(SampleRequest):
    """A sample whose sampler is chosen by the lane, when there is one that will do."""

    __slots__ = ("_choosing",)

    def __init__(
        self, service: Service, choosing: Choosing, prompt_length: int, tracker: Tracker, read: Read | None
    ) -> None:
        super().__init__(service, None, prompt_length, tracker, read)
        self._choosing: Choosing | None = choosing
        self.key = choosing.key

    def owed(self) -> APIFuture[Any] | None:
        """Return the future; None where nothing is published that it could be sampled from."""
        choosing = self._choosing
        return None if choosing is not None and choosing.choose() is None else self.future

    def head(self) -> bytes | TinkerError | None:
        """Return as `SampleRequest.head`; None also while no sampler is chosen."""
        choosing = self._choosing
        if choosing is not None:
            if self._in_line():
                return None
            found = choosing.choose()
            if not isinstance(found, SamplerLease):
                self.key = choosing.key
                self.reason = choosing.reason
                return found
            self._lease = found
            self._choosing = None  # it may hold a version, and this sample may be kept for long
        return super().head()
