"""Sampling actors: one per sampler; each has its sampling session created and the registry publish it.

Sampling itself never comes by here: callers read the registry's snapshot and hand their requests to the lane.
"""

from __future__ import annotations

from typing import Any

from tinker_actors.actors.messages import (
    Adopt,
    AdoptionFailed,
    CallFailed,
    NoSession,
    NumberTaken,
    Publish,
    Replied,
    Republish,
    Retire,
    Shutdown,
    TakeNumber,
)
from tinker_actors.actors.service import SamplerEntry, Service
from tinker_actors.actors.work import Call
from tinker_actors.errors import SessionLostError, TinkerError
from tinker_actors.protocol.codec import encode_body
from tinker_actors.protocol.endpoints import ENDPOINTS
from tinker_actors.protocol.results import create_sampling_session_response
from tinker_actors.runtime.actor import RuntimeActor, tell
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.types.wire import CreateSamplingSessionRequest


class Sampling(RuntimeActor):
    """Creates one sampler and publishes it.

    Args:
        service: what it belongs to: session, registry, lanes.
        key: the registry key.
        ready: settled with the entry when the sampler is there, or with the error.
        place: where in the user's code the sampler was asked for, for error messages.
        base_model: the model to sample from, or None.
        model_path: the checkpoint to sample from, or None. With neither, the sampler is made along with weights that
            are being saved, and the training actor tells `Adopt`.
    """

    def __init__(
        self,
        service: Service,
        key: int,
        ready: APIFuture[Any],
        place: str,
        *,
        base_model: str | None = None,
        model_path: str | None = None,
    ) -> None:
        super().__init__(service.platform.control)
        self._service = service
        self._key = key
        self._ready = ready
        self._place = place
        self._base_model = base_model
        self._model_path = model_path
        self._entry = SamplerEntry("creating", base_model=base_model, model_path=model_path)

    def on_start(self) -> None:
        """Publish that the sampler is being made, and ask for a number if it is made on its own."""
        self._publish(self._entry)
        if self._base_model is not None or self._model_path is not None:
            asked = TakeNumber(self.actor_ref, "sampler")
            if not tell(self._service.session, asked):
                self._fail(SessionLostError("The session has ended."))

    def receive(self, message: Any) -> Any:
        """Handle a message; see `messages`."""
        if isinstance(message, NumberTaken):
            self._create(message)
        elif isinstance(message, Replied):
            self._replied(message)
        elif isinstance(message, Adopt):
            self._base_model = message.base_model
            self._open(message.sampling_session_id, message.weights_version)
        elif isinstance(message, CallFailed | AdoptionFailed | NoSession):
            self._fail(message.error)
        elif isinstance(message, Shutdown):
            self._fail(message.error)
            self.stop()
        elif isinstance(message, Republish):
            self._publish(self._entry)
        elif isinstance(message, Retire):
            tell(self._service.registry, message)
            self.stop()
        else:
            super().receive(message)

    def describe(self) -> str:
        """Return key, state and what it samples from."""
        source = self._model_path or self._base_model or "weights being saved"
        return f"sampler {self._key} {self._entry.state}: {source}"

    def on_failure(self, _kind: Any, error: BaseException | None, _traceback: Any) -> None:
        """Fail the sampler, so that its parked samples end."""
        self._fail(TinkerError(f"The sampling actor crashed: {error!r}."))

    # ------------------------------------------------------------ creating

    def _create(self, taken: NumberTaken) -> None:
        body = CreateSamplingSessionRequest(
            session_id=taken.session_id,
            sampling_session_seq_id=taken.number,
            base_model=self._base_model,
            model_path=self._model_path,
        )
        endpoint = ENDPOINTS["create_sampling_session"]
        self._call("create_sampling_session", endpoint.method, endpoint.path, encode_body(body))

    def _call(self, what: str, method: str, path: str, body: bytes) -> None:
        ref = self.actor_ref
        self._service.lanes.call(
            "control",
            Call(
                what,
                method,
                path,
                body,
                on_done=lambda outcome: tell(ref, Replied(what, outcome)),
                on_failed=lambda error: tell(ref, CallFailed(what, error)),
                session=self._service.link,
                patience=self._service.config.creation_timeout,
            ),
        )

    def _replied(self, message: Replied) -> None:
        try:
            if message.to == "create_sampling_session":
                made = create_sampling_session_response(message.outcome.content_type, message.outcome.body)
                self._open(made.sampling_session_id, 0 if self._base_model is not None else None)
        except TinkerError as error:
            self._fail(error)

    def _open(self, sampling_session_id: str, weights_version: int | None) -> None:
        self._publish(
            SamplerEntry(
                "ready",
                sampling_session_id=sampling_session_id,
                base_model=self._base_model,
                model_path=self._model_path,
                weights_version=weights_version,
            )
        )
        self._ready._settle(self._entry)

    def _fail(self, error: TinkerError) -> None:
        if self._entry.state == "failed":
            return
        if self._entry.state == "creating":
            error.add_note(f"The sampler was asked for at {self._place}.")
        self._publish(SamplerEntry("failed", error=error))
        self._ready._settle(error=error)

    def _publish(self, entry: SamplerEntry) -> None:
        self._entry = entry
        tell(self._service.registry, Publish(self._key, entry))
