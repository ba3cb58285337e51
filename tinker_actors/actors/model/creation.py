"""Creation: how a training actor comes by its model.

From a base model: `create_model`. From a checkpoint: ask what it was trained from, create such a model, and load the
checkpoint as its first operation; every server can do that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinker_actors.actors.ask import ask
from tinker_actors.actors.lane.options import Terms
from tinker_actors.actors.lane.work import Work
from tinker_actors.actors.messages import (
    CallFailed,
    ChunkAccepted,
    ChunkDone,
    ChunkFailed,
    NumberTaken,
    Replied,
    TakeNumber,
)
from tinker_actors.actors.model.operation import ActorSink, Pending
from tinker_actors.actors.model.origin import Origin
from tinker_actors.actors.service import Service
from tinker_actors.errors import SessionLostError, TinkerError, fresh
from tinker_actors.protocol.codec.wire_json import encode_body
from tinker_actors.protocol.endpoints import ENDPOINTS, TYPE_CREATE_MODEL
from tinker_actors.protocol.requests.operations import JSON, Tail, load_weights
from tinker_actors.runtime.actor import guarded, tell
from tinker_actors.runtime.delivery import Inner
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.progress import Tracker
from tinker_actors.types.training import LoraConfig
from tinker_actors.types.wire import CreateModelRequest, ModelRequest, WeightsInfoRequest

if TYPE_CHECKING:
    from tinker_actors.actors.model.actor import Training


class Creation:
    """Makes one model, once. Part of a training actor; used where it runs.

    Attributes:
        model_id: the server's id, once the model is there.
        base_model: name of its base model, once known.
        server_orders: whether the server executes by number.
        work_id: the creation's own work at the lane, or None.
    """

    def __init__(self, owner: Training, service: Service, origin: Origin, ready: APIFuture[Any]) -> None:
        self.model_id: str | None = None
        self.base_model = origin.base_model
        config = service.config
        self.server_orders = config.server_orders if config.server_orders is not None else True
        self.work_id: int | None = None
        self._owner = owner
        self._origin = origin
        self._lora = origin.lora_config
        self._service = service
        self._ready = ready
        self._expected_id = ""
        self._discards = False
        self._asked_about: list[APIFuture[Any]] = []  # what the model is, not answered yet

    def begin(self) -> None:
        """Take the first step."""
        if self._origin.path is None:
            self._take_number()
        else:
            body = WeightsInfoRequest(tinker_path=self._origin.path)
            ask(self._service.lanes, self._owner.actor_ref, "weights_info", body, patience=self._left())

    def unfinished(self) -> list[str]:
        """Return what its owner has not been told the end of."""
        return [] if self._ready.done() else [self._ready._tracker.what]

    def number_taken(self, taken: NumberTaken) -> None:
        """Create the model: the session is there."""
        assert self.base_model is not None
        body = CreateModelRequest(
            session_id=taken.session_id,
            model_seq_id=taken.number,
            base_model=self.base_model,
            user_metadata=self._origin.user_metadata,
            lora_config=self._lora,
        )
        self._expected_id = f"{taken.session_id}:train:{taken.number}"
        self._discards = taken.server.discards_gradients
        # The session is there, so the server has been asked for its settings, and has answered or has none (a 404).
        self._service.dialect.presume(config_answered=bool(self._service.said))
        encoded = encode_body(body)
        work = Work(
            Tail(ENDPOINTS["create_model"].path, encoded[1:], JSON, len(encoded), TYPE_CREATE_MODEL),
            encoded[:1],
            ActorSink(self._owner.actor_ref),
            self._ready._tracker,
            session=self._service.link,
            terms=Terms(timeout=self._service.config.creation_timeout, until_accepted=True),
        )
        self.work_id = work.id
        self._service.lanes.submit("control", work)

    def heard(self, message: Replied | CallFailed | ChunkAccepted | ChunkDone | ChunkFailed) -> None:
        """Take an answer to one of the creation's requests."""
        if isinstance(message, Replied | CallFailed) and isinstance(message.to, APIFuture):
            self._described(message.to, message)
            return
        if isinstance(message, ChunkDone):
            self._created(message)
        elif isinstance(message, Replied):
            self._inspected(message)
        elif isinstance(message, ChunkFailed | CallFailed):
            self.fail(message.error)

    @property
    def decided(self) -> bool:
        """Whether the model is there, or will never be."""
        return self._ready.done()

    @property
    def asked_about(self) -> bool:
        """Whether somebody waits to hear what the model is."""
        return any(not future.done() for future in self._asked_about)

    def fail(self, error: TinkerError) -> None:
        """End the creation, and with it the actor's use."""
        if not self._ready.done():
            failure = fresh(error)
            failure.add_note(f"The training client was asked for at {self._origin.place}.")
            self._ready._settle(error=failure)
        asked, self._asked_about = self._asked_about, []
        for future in asked:
            future._settle(error=error.replica())
        self._owner.give_up(error)

    def describe_model(self, future: APIFuture[Any], ended: TinkerError | None) -> None:
        """Settle `future` with what the server says about the model, as soon as there is one."""
        if ended is not None:
            future._settle(error=ended.replica())
            return
        self._asked_about.append(future)
        if self.model_id is not None:
            self._ask_about(self.model_id, future)

    def _ask_about(self, model_id: str, future: APIFuture[Any]) -> None:
        service = self._service
        body = ModelRequest(model_id=model_id)
        patience = service.config.creation_timeout
        ask(service.lanes, self._owner.actor_ref, "get_info", body, to=future, session=service.link, patience=patience)

    # ------------------------------------------------------------ steps

    def _take_number(self) -> None:
        self._service.note_wait(self._ready._tracker, "waiting for its session")
        if not tell(self._service.session, TakeNumber(self._owner.actor_ref, "model")):
            self.fail(SessionLostError("The session has ended."))

    def _inspected(self, message: Replied) -> None:
        info = message.outcome.value
        self.base_model = self.base_model or info.base_model
        if self._lora is None:
            self._lora = LoraConfig(
                rank=info.lora_rank or LoraConfig().rank,
                train_unembed=info.train_unembed is not False,
                train_mlp=info.train_mlp is not False,
                train_attn=info.train_attn is not False,
            )
        self._take_number()

    def _created(self, message: ChunkDone) -> None:
        self.model_id = message.outcome.value.model_id
        if self._service.config.server_orders is None:
            # Servers that execute by number name models after session and number (wire protocol 3.13); those that
            # ignore numbers make up names (8.3).
            self.server_orders = self.model_id == self._expected_id
        if self._origin.path is None:
            self._made("a LoRA adapter")
        else:
            self._restore(self._origin.path)
        for future in self._asked_about:
            self._ask_about(self.model_id, future)
        self._owner.model_ready(discards=self._discards)

    def _made(self, how: str) -> None:
        rank = None if self._lora is None else self._lora.rank
        text = "Model %s is there: %s of rank %s on %s"
        self._service.story.begins(text, self.model_id, how, rank, self.base_model)
        self._ready._settle(self.model_id)

    def _restore(self, path: str) -> None:
        """Load the checkpoint before anything else; the model counts as ready when that has worked."""
        loaded: APIFuture[Any] = APIFuture(Tracker("load_state", self._owner.now()), delivery=_Inline())
        loaded._looked_at, loaded._counted = True, False  # both are the creation's
        loaded.add_done_callback(Inner(self._restored))
        operation = load_weights(path, self._origin.optimizer, self._origin.weights_access_token)
        self._owner.restore_first(Pending(operation, loaded))

    def _restored(self, loaded: APIFuture[Any]) -> None:
        error = loaded._failure()
        if error is None:
            self._made(f"restored from {self._origin.path},")
        elif isinstance(error, TinkerError):
            self.fail(error)

    def _described(self, future: APIFuture[Any], message: Replied | CallFailed) -> None:
        self._asked_about = [other for other in self._asked_about if other is not future]
        if isinstance(message, CallFailed):
            future._settle(error=message.error)
        else:
            future._settle(message.outcome.value)

    def _left(self) -> float:
        """Return how many seconds are left for the creation."""
        return max(0.0, self._ready._tracker.born + self._service.config.creation_timeout - self._owner.now())


class _Inline:
    """Runs callbacks at once: the callback is the actor's own, on its own thread."""

    def post(self, callback: Any) -> None:
        """Run it."""
        guarded(callback, "restoring")
