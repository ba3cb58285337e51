"""Sampling actors: one per sampler; each has its sampling session created and the registry publish it.

Sampling itself never comes by here: callers read the registry's snapshot and hand their requests to the lane.
"""

from __future__ import annotations

import random
from typing import Any

import msgspec

from tinker_actors.actors.ask import ask
from tinker_actors.actors.messages import (
    Adopt,
    AdoptionFailed,
    Barrier,
    CallFailed,
    DropSession,
    HoldSession,
    NumberTaken,
    Publish,
    Replied,
    Republish,
    ResumeSession,
    Retire,
    Shutdown,
    TakeNumber,
)
from tinker_actors.actors.service import SamplerEntry, Service
from tinker_actors.actors.session.messages import Meet, Met
from tinker_actors.errors import ClientClosedError, SessionLostError, TinkerError, fresh
from tinker_actors.protocol.replies.plain import CLONE_RANGE
from tinker_actors.runtime.actor import RuntimeActor, tell
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.types.wire import Body, CreateSamplingSessionRequest, JoinSamplingSessionRequest


class Sampling(RuntimeActor):
    """Creates or joins one sampler and publishes it.

    Args:
        service: what it belongs to: session, registry, lanes.
        key: the registry key.
        ready: settled with the entry when the sampler is there, or with the error.
        place: where in the user's code the sampler was asked for, for error messages.
        base_model: the model to sample from, or None.
        model_path: the checkpoint to sample from, or None. With neither, the sampler is made along with weights that
            are being saved, and the training actor tells `Adopt`.
        copied: a sampler that another process made; it is joined and not created. Its model and path are known.
        weights_version: optimizer steps behind the weights of the copied sampler, when known.
    """

    title = "sampling actor"

    def __init__(
        self,
        service: Service,
        key: int,
        ready: APIFuture[Any],
        place: str,
        *,
        base_model: str | None = None,
        model_path: str | None = None,
        copied: str | None = None,
        weights_version: int | None = None,
    ) -> None:
        super().__init__(service.platform.control)
        self._service = service
        self._key = key
        self._ready: APIFuture[Any] | None = ready
        self._place = place
        self._base_model = base_model
        self._model_path = model_path
        self._copied = copied
        self._weights_version = weights_version
        self._began = self.now()
        self._barriers: list[APIFuture[None]] = []
        self._entry = SamplerEntry("creating", base_model=base_model, model_path=model_path)

    def on_start(self) -> None:
        """Publish that the sampler is being made, and ask the session for what that takes."""
        self._session_changed()
        if self._copied is None and (self._base_model is not None or self._model_path is not None):
            self._ask(TakeNumber(self.actor_ref, "sampler"))
        else:
            self._ask(Meet(self.actor_ref))

    def _ask(self, message: TakeNumber | Meet) -> None:
        if not tell(self._service.session, message):
            self._fail(SessionLostError("The session has ended."))

    def receive(self, message: Any) -> Any:
        """Handle a message; see `messages`."""
        if isinstance(message, NumberTaken):
            self._create(message)
        elif isinstance(message, Met):
            if self._copied is not None:  # else it only wants to hear what becomes of the session
                self._join(message)
        elif isinstance(message, Replied):
            self._replied(message)
        elif isinstance(message, Adopt):
            self._base_model = message.base_model
            self._open(message.sampling_session_id, message.weights_version, order=message.order)
        elif isinstance(message, CallFailed | AdoptionFailed | DropSession):
            self._fail(message.error)
        elif isinstance(message, Shutdown):
            self.end(message.error)
        elif isinstance(message, Republish):
            self._publish(self._entry)
        elif isinstance(message, HoldSession | ResumeSession):
            self._session_changed()
        elif isinstance(message, Retire):
            self.end(ClientClosedError("The sampling client was dropped."))
            self._service.tell_registry(message)
        elif isinstance(message, Barrier):
            self._barriers.append(message.future)
            self._lift_barriers()
        else:
            super().receive(message)

    def describe(self) -> str:
        """Return key, state and what it samples from."""
        source = self._model_path or self._base_model or "weights being saved"
        return f"sampler {self._key} {self._entry.state}: {source}"

    def settle(self, error: TinkerError) -> None:
        """Fail the sampler, so that its parked samples end."""
        self._fail(error)

    def on_dead_letter(self, message: Any) -> None:
        """Retire what nobody holds any more; decide what waits."""
        if isinstance(message, Retire):
            self._service.tell_registry(message)
        elif isinstance(message, Barrier):
            message.future._settle(None)

    # ------------------------------------------------------------ creating

    def _create(self, taken: NumberTaken) -> None:
        body = CreateSamplingSessionRequest(
            session_id=taken.session_id,
            sampling_session_seq_id=taken.number,
            base_model=self._base_model,
            model_path=self._model_path,
        )
        self._ask_server("create_sampling_session", body)

    def _join(self, met: Met) -> None:
        """Get a number for this copy, so that no other copy of the sampler numbers its samples alike."""
        assert self._copied is not None
        if met.server.sample_join_sampling_session:
            self._ask_server("join_sampling_session", JoinSamplingSessionRequest(sampling_session_id=self._copied))
        else:
            # From the system, not from a seed that processes may share.
            self._open(self._copied, self._weights_version, random.SystemRandom().randint(1, CLONE_RANGE))

    def _ask_server(self, endpoint: str, body: Body) -> None:
        service = self._service
        patience = max(0.0, self._began + service.config.creation_timeout - self.now())
        ask(service.lanes, self.actor_ref, endpoint, body, session=service.link, patience=patience)

    def _replied(self, message: Replied) -> None:
        value = message.outcome.value
        if message.to == "create_sampling_session":
            self._open(value.sampling_session_id, 0 if self._base_model is not None else None)
        elif message.to == "join_sampling_session":
            assert self._copied is not None
            self._open(self._copied, self._weights_version, value)

    def _open(self, sampling_session_id: str, weights_version: int | None, clone_id: int = 0, order: int = 0) -> None:
        self._publish(
            SamplerEntry(
                "ready",
                sampling_session_id=sampling_session_id,
                base_model=self._base_model,
                model_path=self._model_path,
                weights_version=weights_version,
                clone_id=clone_id,
                order=order,
            )
        )
        self._decide(self._entry, None)

    def _session_changed(self) -> None:
        """Say how the sampler stands now that the session is lost, or well."""
        self._publish(self._entry)
        if self._ready is not None:
            self._service.note_wait(self._ready._tracker, "queued here")

    def _fail(self, error: TinkerError) -> None:
        if self._entry.state == "failed":
            return
        if self._entry.state == "creating":
            error = fresh(error)
            error.add_note(f"The sampler was asked for at {self._place}.")
        self._publish(msgspec.structs.replace(self._entry, state="failed", error=error))
        # Whoever raises an error hangs his frames on it, and with them the client whose end this actor waits for.
        self._decide(None, error.replica())

    def _decide(self, entry: SamplerEntry | None, error: TinkerError | None) -> None:
        ready, self._ready = self._ready, None
        if ready is not None:
            ready._settle(entry, error)
        self._lift_barriers()

    def _lift_barriers(self) -> None:
        if self._ready is None:
            barriers, self._barriers = self._barriers, []
            for future in barriers:
                future._settle(None)

    def _publish(self, entry: SamplerEntry) -> None:
        """Publish an entry; while the session is lost, as one that samples wait for, unless it has failed."""
        self._entry = entry
        if self._service.recovering and entry.state != "failed":
            entry = msgspec.structs.replace(entry, state="recovering")
        self._service.tell_registry(Publish(self._key, entry))
