"""A service as its actors see it: what they share, and the entries that callers read."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from tinker_actors.actors.lane.keeper import Lanes, release_lanes
from tinker_actors.actors.lane.work import SessionLink
from tinker_actors.actors.messages import Barrier, Shutdown
from tinker_actors.actors.platform import Platform
from tinker_actors.actors.story import Story
from tinker_actors.config import Config
from tinker_actors.errors import TinkerError
from tinker_actors.protocol.requests.dialect import DialectChoice
from tinker_actors.runtime import forks
from tinker_actors.runtime.actor import Ref, tell
from tinker_actors.runtime.actor_ref import RuntimeRef
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.hub import EventHub
from tinker_actors.runtime.progress import Tracker, WaitReason
from tinker_actors.runtime.snapshot import Snapshot
from tinker_actors.types.wire import ClientConfigResponse


class SamplerEntry(msgspec.Struct, frozen=True, eq=False):
    """What a caller needs to know to sample.

    Attributes:
        state: `"creating"`, `"recovering"` while its session is lost and may be well again (samples wait for either),
            `"ready"` or `"failed"`.
        sampling_session_id: the server's id, when ready.
        base_model: name of the model behind it, when known.
        model_path: the checkpoint it was made from, if any.
        weights_version: optimizer steps behind its weights; 0 for a base model, None when not known.
        error: why it failed.
        clone_id: 0 for the process that made the sampler; a copy elsewhere has a number of its own, and numbers its
            samples from `clone_id * CLONE_RANGE` on.
        order: for weights saved along with it, the place of the saving among the operations called on their model.
    """

    state: Literal["creating", "recovering", "ready", "failed"]
    sampling_session_id: str | None = None
    base_model: str | None = None
    model_path: str | None = None
    weights_version: int | None = None
    error: TinkerError | None = None
    clone_id: int = 0
    order: int = 0

    @property
    def decided(self) -> bool:
        """Whether it can be sampled from, or never will."""
        return self.state in ("ready", "failed")


class ForRegistry(msgspec.Struct, frozen=True, eq=False):
    """To the supervisor: tell the registry this; there was none when it was told.

    Attributes:
        message: for the registry.
    """

    message: Any


class Service:
    """Shared by the actors of one `ServiceClient`.

    The references are set while the tree starts and replaced by the supervisor when it restarts a child; everything
    else stays.

    Attributes:
        config: times, limits and rules.
        platform: executors, delivery and clocks.
        lanes: carry all requests.
        hub: hears of events.
        story: what the log says; for actors.
        link: how lanes know what belongs to the session.
        samplers: the snapshot that callers read; written by the registry only.
        server: what the server said about itself; the defaults until the session has asked. Replaced, never changed.
        said: the same as JSON, as it came; empty while nothing was said.
        dialect: what is known about the dialect of training data; encoders ask it, training actors tell it.
        session_id: the server's id of the session, once there is one.
        epoch: in which process this was made; see `runtime.forks`.
        questions: what is asked of the server beside models and samples; who asks adds, the answer takes out.
        ended: why nothing can be called any more, or None.
        over: settled when everything has ended and the server has been told.
        supervisor: owns the list of children.
        registry: publishes samplers.
        session: gives ids and numbers.
    """

    supervisor: RuntimeRef[Any]
    registry: Ref
    session: Ref

    def __init__(self, config: Config, platform: Platform, lanes: Lanes, link: SessionLink) -> None:
        self.config = config
        self.platform = platform
        self.lanes = lanes
        self.link = link
        self.hub = EventHub(platform.delivery)
        self.story = Story(config.base_url, platform.control)
        self.samplers: Snapshot[int, SamplerEntry] = Snapshot()
        self.server = ClientConfigResponse()
        self.said = b""
        self.dialect = DialectChoice(config.dialect)
        self.session_id: str | None = None
        self.epoch = forks.epoch
        self.questions: set[APIFuture[Any]] = set()
        self.ended: TinkerError | None = None
        self.over: APIFuture[None] = APIFuture(
            Tracker("close", platform.control.clock.now()), delivery=platform.delivery
        )

    @property
    def recovering(self) -> bool:
        """Whether the session is lost and may be well again, so that nothing is sent for it."""
        return self.link.state == "lost"

    def note_wait(self, tracker: Tracker, otherwise: WaitReason) -> None:
        """Note what something waits for: a session that is lost, or something else. For actors."""
        error, now = self.link.error, self.platform.control.clock.now()
        if error is not None and self.recovering:
            tracker.enter("recovering", now, error.message)
        else:
            tracker.enter(otherwise, now)

    def tracker(self, what: str, reason: WaitReason = "queued here") -> Tracker:
        """Return the record of a new operation. Callable from any thread."""
        return Tracker(what, self.platform.control.clock.now(), reason, server=self.lanes.server)

    def tell_registry(self, message: Any) -> bool:
        """Tell the registry, or its successor; return whether there is anybody to tell. Callable from any thread."""
        return tell(self.registry, message) or tell(self.supervisor, ForRegistry(message))

    def let_go(self) -> None:
        """Take the last step of the service's end, behind the session: let go of registry and lanes. Idempotent."""
        release_lanes(self.lanes, self.link)
        if self.ended is not None:  # else it never began
            tell(self.registry, Shutdown(self.ended))
            if tell(self.registry, Barrier(self.over)):
                return  # it is over when the registry has failed what is being published
        self.over._settle(None)
