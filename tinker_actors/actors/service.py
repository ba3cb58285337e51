"""A service as its actors see it: what they share, and the entries that callers read."""

from __future__ import annotations

from typing import Literal

import msgspec

from tinker_actors.actors.lanes import Lanes
from tinker_actors.actors.platform import Platform
from tinker_actors.actors.work import SessionLink
from tinker_actors.config import Config
from tinker_actors.errors import TinkerError
from tinker_actors.protocol.dialect import DialectChoice
from tinker_actors.runtime import forks
from tinker_actors.runtime.actor import Ref
from tinker_actors.runtime.hub import EventHub
from tinker_actors.runtime.snapshot import Snapshot
from tinker_actors.types.wire import ClientConfigResponse


class SamplerEntry(msgspec.Struct, frozen=True, eq=False):
    """What a caller needs to know to sample.

    Attributes:
        state: `"creating"` (samples wait for it), `"ready"` or `"failed"`.
        sampling_session_id: the server's id, when ready.
        base_model: name of the model behind it, when known.
        model_path: the checkpoint it was made from, if any.
        weights_version: optimizer steps behind its weights; 0 for a base model, None when not known.
        error: why it failed.
        clone_id: 0 for the process that made the sampler; a copy elsewhere has a number of its own, and numbers its
            samples from `clone_id * CLONE_RANGE` on.
    """

    state: Literal["creating", "ready", "failed"]
    sampling_session_id: str | None = None
    base_model: str | None = None
    model_path: str | None = None
    weights_version: int | None = None
    error: TinkerError | None = None
    clone_id: int = 0


class Service:
    """Shared by the actors of one `ServiceClient`.

    The references are set while the tree starts and replaced by the supervisor when it restarts a child; everything
    else stays.

    Attributes:
        config: times, limits and rules.
        platform: executors, delivery and clocks.
        lanes: carry all requests.
        hub: hears of events.
        link: how lanes know what belongs to the session.
        samplers: the snapshot that callers read; written by the registry only.
        server: what the server said about itself; the defaults until the session has asked. Replaced, never changed.
        said: the same as JSON, as it came; empty while nothing was said.
        dialect: what is known about the dialect of training data; encoders ask it, training actors tell it.
        session_id: the server's id of the session, once there is one.
        epoch: in which process this was made; see `runtime.forks`.
        supervisor: owns the list of children.
        registry: publishes samplers.
        session: gives ids and numbers.
    """

    supervisor: Ref
    registry: Ref
    session: Ref

    def __init__(self, config: Config, platform: Platform, lanes: Lanes) -> None:
        self.config = config
        self.platform = platform
        self.lanes = lanes
        self.hub = EventHub(platform.delivery)
        self.link = SessionLink()
        self.samplers: Snapshot[int, SamplerEntry] = Snapshot()
        self.server = ClientConfigResponse()
        self.said = b""
        self.dialect = DialectChoice(config.dialect)
        self.session_id: str | None = None
        self.epoch = forks.epoch
