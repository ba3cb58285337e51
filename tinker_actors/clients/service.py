"""The service client: one session on one server, and the door to models and samplers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar

from tinker_actors.actors.ask import ask_for
from tinker_actors.actors.messages import Shutdown
from tinker_actors.actors.model.origin import Origin
from tinker_actors.actors.platform import Platform
from tinker_actors.actors.registry import sampler_keys
from tinker_actors.actors.sampler import Sampling
from tinker_actors.actors.service import Service
from tinker_actors.actors.session.messages import SessionSettings
from tinker_actors.actors.supervisor import Watch, give_up, open_service
from tinker_actors.clients import local_door
from tinker_actors.clients.closing import (
    abandon,
)
from tinker_actors.clients.handle import closed_error
from tinker_actors.clients.lifetime import Lifetime
from tinker_actors.clients.machine import machine
from tinker_actors.clients.place import callers_place
from tinker_actors.clients.questions import checked_timeout, limited, question, wait_for, wait_for_async
from tinker_actors.clients.sampling import SamplingClient
from tinker_actors.clients.tree import Node, read_tree
from tinker_actors.clients.twins import awaits
from tinker_actors.config import Config, resolve
from tinker_actors.errors import InvalidInputError
from tinker_actors.loading import load
from tinker_actors.protocol.requests.values import checked_access_token, checked_metadata
from tinker_actors.runtime.actor import RuntimeActor, tell
from tinker_actors.runtime.actor_ref import RuntimeRef
from tinker_actors.runtime.forks import finalize
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.hub import EventHub
from tinker_actors.runtime.staying import Staying
from tinker_actors.secrets import secret
from tinker_actors.types.addresses import hide_user
from tinker_actors.types.paths import ParsedCheckpointTinkerPath, require_tinker_path
from tinker_actors.types.scalars import checked_int, checked_text, sendable_text
from tinker_actors.types.service import GetServerCapabilitiesResponse
from tinker_actors.types.spelling import spelled
from tinker_actors.types.training import LoraConfig

if TYPE_CHECKING:
    from tinker_actors.clients.service_proxy import ServiceProxy
    from tinker_actors.clients.training import TrainingClient

H = TypeVar("H")

_child_numbers = itertools.count(1)


class ServiceClient(Lifetime, Staying):
    """A session on a Tinker server. Thread-safe; a context manager, sync and async.

    Opening the session begins at once, in the background; nothing here waits for it. Without `with`, call `close()`.

    Args:
        user_metadata: stored with the session.
        project_id: project of the session; default: `TINKER_PROJECT_ID`.
        display_name: the session's name for people.
        base_url: the server; `"local:"` starts an embedded one, `"local:PATH"` one that keeps its data in PATH, and
            waits until it listens (in a coroutine: `await asyncio.to_thread(ServiceClient, base_url="local:")`).
            Default: `TINKER_BASE_URL`, else the hosted service.
        api_key: the credential; default: `TINKER_API_KEY`. Not needed on loopback, and not sent to `"local:"`.
        config: everything else; see `Config`.

    Attributes:
        actor_ref: the pykka reference of the supervisor of everything in this service; its `proxy()` is that of this
            client.
        events: subscribe here to what happens.

    Raises:
        ConfigError: there is no server to talk to, or address and key don't fit together.
        InvalidInputError: metadata without a JSON form, or a name that is no text.
    """

    _elsewhere = "Make one in the other process: ServiceClient(...)."

    @spelled("ServiceClient")
    def __init__(
        self,
        user_metadata: Mapping[str, Any] | None = None,
        project_id: str | None = None,
        *,
        display_name: str | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        config: Config | None = None,
    ) -> None:
        api_key = secret(api_key)
        base_url = hide_user(base_url)
        self._visit = local_door.visit_of(base_url or (config.base_url if config is not None else None))
        try:
            url = base_url if self._visit is None else self._visit.enter()
            found = resolve if self._visit is None else local_door.resolve_keyless
            resolved = found(config, base_url=url, api_key=api_key, project_id=project_id)
            name = None if display_name is None else sendable_text(display_name, "display_name")
            self._open(resolved, SessionSettings(checked_metadata(user_metadata), name), machine())
        except BaseException:
            if self._visit is not None:
                self._visit.leave(wait=False)
            raise

    @classmethod
    def _over(cls, platform: Platform, config: Config, settings: SessionSettings) -> Self:
        """Return a client on another platform than the machine's."""
        client = cls.__new__(cls)
        client._visit = None
        client._open(config, settings, platform)
        return client

    def _open(self, config: Config, settings: SessionSettings, platform: Platform) -> None:
        service: Service | None = None
        try:
            self._service = service = open_service(config, platform, settings)
            self.actor_ref: RuntimeRef[Any] = service.supervisor
            self.actor_ref.represent(self)
            self.events: EventHub = service.hub
            self._finalizer = finalize(self, abandon, service, self._visit)
        except BaseException:
            if service is not None:
                give_up(service)
            raise

    # ------------------------------------------------------------ models

    def create_lora_training_client(
        self,
        base_model: str,
        rank: int = 32,
        seed: int | None = None,
        train_mlp: bool = True,
        train_attn: bool = True,
        train_unembed: bool = True,
        user_metadata: Mapping[str, Any] | None = None,
    ) -> TrainingClient:
        """Create a LoRA adapter on a base model. The handle can be used at once.

        Args:
            base_model: name of the base model, e.g. `"local/tiny"`.
            rank: rank of the adapter.
            seed: seed of its initial values.
            train_mlp: adapt the feed-forward layers.
            train_attn: adapt the attention layers.
            train_unembed: adapt the unembedding.
            user_metadata: stored with the model.

        Raises:
            InvalidInputError: rank below 1, nothing to train, or metadata without a JSON form. That the base model does
                not exist only the server knows: `result()`, `await` and every operation of the handle say so.
            ClientClosedError: this client was closed.
        """
        base_model = checked_text(base_model, "base_model")
        drawn = None if seed is None else checked_int(seed, "seed")
        lora = LoraConfig(checked_int(rank, "rank", least=1), drawn, train_unembed, train_mlp, train_attn)
        metadata = checked_metadata(user_metadata)
        return self._new_model(Origin(callers_place(), base_model=base_model, lora_config=lora, user_metadata=metadata))

    @awaits(create_lora_training_client)
    def create_lora_training_client_async(self) -> None:
        """Create a LoRA adapter and await it; arguments as for `create_lora_training_client`."""

    def create_training_client_from_state(
        self,
        path: str,
        base_model: str | None = None,
        user_metadata: Mapping[str, Any] | None = None,
        weights_access_token: str | None = None,
    ) -> TrainingClient:
        """Create a model from a training checkpoint's weights; the optimizer begins anew.

        Args:
            path: the checkpoint's `tinker://` path.
            base_model: overrides the base model that the server says the checkpoint has.
            user_metadata: stored with the model.
            weights_access_token: for another account's checkpoint.

        Raises:
            InvalidInputError: `path` is no checkpoint path, or metadata have no JSON form.
            ClientClosedError: this client was closed.
        """
        return self._from_state(path, base_model, user_metadata, weights_access_token, optimizer=False)

    @awaits(create_training_client_from_state)
    def create_training_client_from_state_async(self) -> None:
        """Create a model from a checkpoint and await it; see `create_training_client_from_state`."""

    def create_training_client_from_state_with_optimizer(
        self,
        path: str,
        base_model: str | None = None,
        user_metadata: Mapping[str, Any] | None = None,
        weights_access_token: str | None = None,
    ) -> TrainingClient:
        """Create a model from a training checkpoint, optimizer state included; training goes on where it was saved.

        Arguments and errors as for `create_training_client_from_state`.
        """
        return self._from_state(path, base_model, user_metadata, weights_access_token, optimizer=True)

    @awaits(create_training_client_from_state_with_optimizer)
    def create_training_client_from_state_with_optimizer_async(self) -> None:
        """Create a model from a checkpoint with its optimizer, and await it."""

    def _from_state(
        self, path: str, base_model: str | None, given: Mapping[str, Any] | None, token: str | None, *, optimizer: bool
    ) -> TrainingClient:
        path = checked_text(path, "path")
        ParsedCheckpointTinkerPath.from_tinker_path(path)
        return self._new_model(
            Origin(
                callers_place(),
                base_model=None if base_model is None else checked_text(base_model, "base_model"),
                path=path,
                optimizer=optimizer,
                user_metadata=checked_metadata(given),
                weights_access_token=checked_access_token(token),
            )
        )

    def _new_model(self, origin: Origin) -> TrainingClient:
        load("tinker_actors.actors.model.actor", "tinker_actors.clients.training")
        from tinker_actors.actors.model.actor import Training  # noqa: PLC0415 - only for those who train
        from tinker_actors.clients.training import TrainingClient  # noqa: PLC0415 - same

        self._check_open("creating a training client")
        ready: APIFuture[Any] = self._future("create_model")
        actor = Training(self._service, origin, ready)
        return self._start(actor, "training", lambda ref: TrainingClient(self._service, ref, ready, self, actor.state))

    # ------------------------------------------------------------ samplers

    def create_sampling_client(self, model_path: str | None = None, base_model: str | None = None) -> SamplingClient:
        """Create a sampler of a saved checkpoint or of a base model. The handle can be used at once.

        Args:
            model_path: a checkpoint's `tinker://` path.
            base_model: name of a base model. Exactly one of the two.

        Raises:
            InvalidInputError: neither or both given, or `model_path` is no `tinker://` path.
            ClientClosedError: this client was closed.
        """
        if (model_path is None) == (base_model is None):
            raise InvalidInputError("create_sampling_client needs exactly one of model_path and base_model.")
        if model_path is None:
            return self._new_sampler(base_model=checked_text(base_model, "base_model"))
        path = checked_text(model_path, "model_path")
        if "://" not in path:
            raise InvalidInputError(
                f"model_path {path!r} is no tinker:// path; of a base model, pass base_model={path!r}."
            )
        return self._new_sampler(model_path=require_tinker_path(path, "model_path"))

    @awaits(create_sampling_client)
    def create_sampling_client_async(self) -> None:
        """Create a sampler and await it; arguments as for `create_sampling_client`."""

    def create_sampling_client_from_handle(self, handle: str) -> SamplingClient:
        """Return a sampling client for the sampler that another process's `get_sampler_handle` names.

        Args:
            handle: the text; it must name a sampler on the server of this client.

        Raises:
            InvalidInputError: the text is no handle, or names another server.
            ClientClosedError: this client was closed.
        """
        load("tinker_actors.clients.sampler_handle")
        from tinker_actors.clients.sampler_handle import sampler_on  # noqa: PLC0415 - only for those who use it

        self._check_open("creating a sampling client")
        return sampler_on(self._service.config, handle)

    def _new_sampler(self, **source: Any) -> SamplingClient:
        self._check_open("creating a sampling client")
        ready: APIFuture[Any] = self._future("create_sampling_session")
        key = next(sampler_keys)
        actor = Sampling(self._service, key, ready, callers_place(), **source)
        return self._start(actor, "sampling", lambda ref: SamplingClient(self._service, key, ref, ready, self))

    def get_server_capabilities(self, *, timeout: float | None = None) -> GetServerCapabilitiesResponse:
        """Return which base models the server has, waiting for its answer: `timeout` seconds at most.

        Raises:
            DeadlineExceededError: they are over. Without them `Config(creation_timeout=)` holds.
            TinkerError: the server can't be reached or refuses.
        """
        return wait_for(self._get_server_capabilities_future(), timeout)

    async def get_server_capabilities_async(self, *, timeout: float | None = None) -> GetServerCapabilitiesResponse:  # noqa: ASYNC109 - see result_async
        """Await which base models the server has; see `get_server_capabilities`."""
        return await wait_for_async(self._get_server_capabilities_future(), timeout)

    def _get_server_capabilities_future(
        self, *, timeout: float | None = None
    ) -> APIFuture[GetServerCapabilitiesResponse]:
        timeout = checked_timeout(timeout)
        self._check_open("get_server_capabilities")
        future: APIFuture[GetServerCapabilitiesResponse] = question(self._service, "get_server_capabilities")
        service = self._service
        ask_for(service.lanes, future, "get_server_capabilities", patience=service.config.creation_timeout)
        return limited(self._service, future, timeout)

    def tree(self) -> Node:
        """Return what runs in this service and how each part is doing; `print` it. Waits at most 1 s per actor."""
        return read_tree(self._service)

    def _tree_future(self) -> APIFuture[Node]:
        load("tinker_actors.runtime.derived")
        from tinker_actors.runtime.derived import in_thread  # noqa: PLC0415 - for proxies only

        # Not by a timer on a thread of the runtime: the tree is asked for when one of those may stand still.
        return in_thread("tree", self.tree)

    def proxy(self) -> ServiceProxy:
        """Return a proxy: this client in pykka's words, with futures that flatten. Thread-safe."""
        load("tinker_actors.clients.service_proxy")
        from tinker_actors.clients.service_proxy import ServiceProxy  # noqa: PLC0415 - it proxies this class

        return ServiceProxy(self)

    def __repr__(self) -> str:
        if not hasattr(self, "_service"):  # while it is being made
            return "<ServiceClient>"
        state = "closed" if self.closed else "open"
        return f"<ServiceClient {state}: {self._service.config.base_url}>"

    def _start(self, actor: RuntimeActor, kind: str, handle: Callable[[RuntimeRef[Any]], H]) -> H:
        ref = actor.actor_ref
        try:
            actor.monitor(self.actor_ref)
            if not tell(self.actor_ref, Watch(ref, f"{kind}-{next(_child_numbers)}")):
                tell(ref, Shutdown(self._service.ended or closed_error("create")))
            actor.executor.run(actor)
            return handle(ref)
        except BaseException:  # an interrupt (Ctrl-C): nobody will have a handle
            tell(ref, Shutdown(self._service.ended or closed_error("create")))
            raise

    def _future(self, what: str) -> APIFuture[Any]:
        return APIFuture(self._service.tracker(what), delivery=self._service.platform.delivery)
