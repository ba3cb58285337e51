"""The training client: one model, operations in call order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tinker_actors.actors.messages import AcknowledgeFailure, Barrier, DescribeModel, Perform, Release
from tinker_actors.actors.model.published import TrainingState
from tinker_actors.actors.service import Service
from tinker_actors.clients.checkpoints import Checkpoints
from tinker_actors.clients.performing import first
from tinker_actors.clients.policy import Policy, PolicyState, policy_of
from tinker_actors.clients.questions import checked_timeout, limited, wait_for, wait_for_async
from tinker_actors.clients.steps import Step, StepTracker, trained_tokens
from tinker_actors.clients.twins import awaits, submits
from tinker_actors.errors import InvalidInputError
from tinker_actors.loading import load
from tinker_actors.protocol.replies.reduction import merge_outputs
from tinker_actors.protocol.requests import operations
from tinker_actors.runtime.actor import tell
from tinker_actors.runtime.actor_ref import RuntimeRef
from tinker_actors.runtime.forks import finalize
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.staying import Staying
from tinker_actors.runtime.unfinished import unfinished
from tinker_actors.types.inputs import Datum
from tinker_actors.types.training import (
    AdamParams,
    ForwardBackwardOutput,
    GetInfoResponse,
    LossFnType,
    OptimStepResponse,
    StepResult,
)
from tinker_actors.types.wire import SamplerKind

if TYPE_CHECKING:
    from tinker_actors.clients.sampling import SamplingClient
    from tinker_actors.clients.service import ServiceClient
    from tinker_actors.clients.training_proxy import TrainingProxy

LossFnConfig = Mapping[str, float | str]


class TrainingClient(Checkpoints, Staying):
    """Trains one model. Made by `ServiceClient`; thread-safe.

    Operations are sent in the order in which they are called, each as soon as the server has accepted the one before;
    nothing waits for a result. So an `optim_step` called right behind a `forward_backward` is on the server when the
    gradient is ready. Usable at once: what is called before the model exists waits for it.

    No operation is applied that was called in ignorance of a failure: what was called behind a gradient, step or
    restore that failed fails with `PrecedingOperationFailed`, until you are told: by `result()`, `exception()`,
    `await`, a callback or `acknowledge_failure`. What you call then is done, and earlier gradients of the step count.
    Gradients of a broken step are discarded; where a server can't, gradients and steps fail with `StepTaintedError`
    until you restore a checkpoint or acknowledge. Saving, `forward` and samplers are stopped by neither: called once
    you know, they are done. To save whatever has failed or will, call `acknowledge_failure()` and then `save_state`.
    """

    _elsewhere = (
        "To sample elsewhere, pickle a sampling client; to train on, save_state() here and "
        "create_training_client_from_state_with_optimizer() there."
    )

    def __init__(
        self,
        service: Service,
        actor_ref: RuntimeRef[Any],
        ready: APIFuture[Any],
        keeper: ServiceClient,
        state: TrainingState,
    ) -> None:
        super().__init__(service, actor_ref, ready, keeper, state)
        self._policies: dict[str, PolicyState] = {}
        finalize(self, tell, actor_ref, Release())

    # ------------------------------------------------------------ gradients and steps

    def forward(
        self, data: Sequence[Datum], loss_fn: LossFnType, loss_fn_config: LossFnConfig | None = None
    ) -> APIFuture[ForwardBackwardOutput]:
        """Compute a loss without touching the gradients. Arguments, result and errors as for `forward_backward`."""
        return self._perform(self._encoded(data, loss_fn, loss_fn_config, forward_only=True), merge_outputs)

    @submits(forward)
    def forward_async(self) -> None:
        """Submit as `forward` does, and return the future."""

    def forward_backward(
        self, data: Sequence[Datum], loss_fn: LossFnType, loss_fn_config: LossFnConfig | None = None
    ) -> APIFuture[ForwardBackwardOutput]:
        """Compute a loss and add its gradient to what the next `optim_step` will apply.

        Losses are sums over tokens and datums, never means. Large data is cut into several requests; their results
        are merged.

        Args:
            data: examples, at least one; they may be changed once this returns.
            loss_fn: name of the loss function.
            loss_fn_config: its numbers by name.

        Returns:
            A future of outputs, one per datum in order, and summed metrics.

        Raises:
            InvalidInputError: something about the data that can't be right; nothing was sent.
            ClientClosedError: the service client was closed.
        """
        return self._perform(self._encoded(data, loss_fn, loss_fn_config, forward_only=False), merge_outputs)

    @submits(forward_backward)
    def forward_backward_async(self) -> None:
        """Submit as `forward_backward` does, and return the future."""

    def optim_step(
        self,
        optim_params: AdamParams | Mapping[str, Any] | None = None,
        *,
        adam_params: AdamParams | Mapping[str, Any] | None = None,
    ) -> APIFuture[OptimStepResponse]:
        """Apply the gradients gathered since the last step, once, and clear them.

        Args:
            optim_params: AdamW's parameters; default: those of `AdamParams`.
            adam_params: the same under its older name.

        Returns:
            A future of the optimizer's metrics.

        Raises:
            InvalidInputError: both names given, or a value that can't be right.
            ClientClosedError: the service client was closed.
        """
        if optim_params is not None and adam_params is not None:
            raise InvalidInputError("optim_params and adam_params are two names of one argument; give one of them.")
        params = adam_params if optim_params is None else optim_params
        return self._perform(operations.optim_step(params), first)

    @submits(optim_step)
    def optim_step_async(self) -> None:
        """Submit as `optim_step` does, and return the future."""

    def step(
        self,
        data: Sequence[Datum],
        loss_fn: LossFnType,
        adam_params: AdamParams | Mapping[str, Any] | None = None,
        loss_fn_config: LossFnConfig | None = None,
    ) -> APIFuture[StepResult]:
        """Train once on these examples: a `forward_backward` and an `optim_step`, both submitted at once.

        Steps of several threads follow one another; nothing comes in between the two.

        Args:
            data: examples, at least one; they may be changed once this returns.
            loss_fn: name of the loss function.
            adam_params: AdamW's parameters; default: those of `AdamParams`.
            loss_fn_config: the loss function's numbers by name.

        Returns:
            A future of loss, metrics and times. It fails with the first error of the two, which is the gradient's
            when both fail.

        Raises:
            InvalidInputError: something that can't be right; nothing was sent.
            ClientClosedError: the service client was closed.
        """
        platform = self._service.platform
        tracker = StepTracker("optim_step", platform.control.clock.now(), self._service.lanes.server)
        apply = operations.optim_step(adam_params)  # before anything is sent, for it may be refused
        given = self._encoded(data, loss_fn, loss_fn_config, forward_only=False)
        self._keeper._check_open("step")
        gradient, optimizer = self._future(given.name, merge_outputs), self._future(apply.name, first, tracker)
        unfinished.watch(gradient, optimizer)
        # One message: nothing that another thread or a signal handler calls comes in between.
        self._tell(Perform(given, gradient, then=Perform(apply, optimizer)))
        tokens = trained_tokens(data)
        return Step(gradient, optimizer, tracker, tokens, platform.control.clock.now, platform.delivery).future

    @submits(step)
    def step_async(self) -> None:
        """Submit as `step` does, and return the future."""

    # ------------------------------------------------------------ sampling from the weights

    def save_weights_and_get_sampling_client(
        self, name: str | None = None, *, kind: SamplerKind = "snapshot"
    ) -> SamplingClient:
        """Return a sampler of the weights as they are after everything called so far.

        The handle can be used at once; its samples wait until the weights are saved.

        Args:
            name: ignored, as in the official SDK: weights saved this way live as long as the session.
            kind: `"snapshot"` (fixed weights) or `"inflight"` (follows the model).

        Raises:
            ClientClosedError: the service client was closed.
        """
        del name
        self._keeper._check_open("save_weights_and_get_sampling_client")
        sampler = self._keeper._new_sampler()
        operation = operations.save_weights_for_sampler(None, kind)
        future = self._perform(operation, first, sampler=sampler.actor_ref)
        future._looked_at = True  # its failure is the sampler's
        sampler._ready._counted = False  # and this is one operation
        return sampler

    @awaits(save_weights_and_get_sampling_client)
    def save_weights_and_get_sampling_client_async(self) -> None:
        """Save the weights and await the sampler of them."""

    def create_sampling_client(self, model_path: str) -> SamplingClient:
        """Return a sampler of a saved checkpoint; see `ServiceClient.create_sampling_client`."""
        return self._keeper.create_sampling_client(model_path=model_path)

    @awaits(create_sampling_client)
    def create_sampling_client_async(self) -> None:
        """Await a sampler of a saved checkpoint."""

    def policy(self, name: str, *, max_lag: int | None = None) -> Policy:
        """Return the live policy of a name: any thread samples from the newest published weights.

        For arguments and errors see `policy_of`, for what it does see `Policy`.
        """
        return policy_of(self, name, max_lag)

    # ------------------------------------------------------------ about the model

    def get_info(self, *, timeout: float | None = None) -> GetInfoResponse:
        """Return what the server says about the model, waiting for it: `timeout` seconds at most.

        Raises:
            DeadlineExceededError: they are over. Without them the limits are those of creating a model.
            TinkerError: the model could not be made, or the server does not answer.
        """
        return wait_for(self._get_info_future(), timeout)

    async def get_info_async(self, *, timeout: float | None = None) -> GetInfoResponse:  # noqa: ASYNC109 - see result_async
        """Await what the server says about the model; see `get_info`."""
        return await wait_for_async(self._get_info_future(), timeout)

    def barrier(self, timeout: float | None = None) -> None:
        """Wait until everything called so far is decided, well or badly.

        Args:
            timeout: seconds to wait; None waits as long as it takes.

        Raises:
            DeadlineExceededError: `timeout` is over.
        """
        self._barrier_future().result(timeout)

    def acknowledge_failure(self) -> None:
        """Go on with the weights as they are, whatever becomes of what was called so far.

        What was called before and is not sent yet fails as ever; what is called from now on is done, also where a
        failure is heard of only later. Gradients that the server can't discard count for the next step. So this and
        `save_state` save the weights before a program gives up, wherever it stands: in an `except:` or in a signal
        handler. May be called at any time and from any thread, also where nothing failed; never waits. A model whose
        session or service is gone stays gone, and `save_state` says so.
        """
        tell(self.actor_ref, AcknowledgeFailure())

    def proxy(self) -> TrainingProxy:
        """Return a proxy: this client in pykka's words, with futures that flatten. Thread-safe."""
        load("tinker_actors.clients.training_proxy")
        from tinker_actors.clients.training_proxy import TrainingProxy  # noqa: PLC0415 - it proxies this class

        return TrainingProxy(self)

    def __repr__(self) -> str:
        if not self._ready.done():
            return "<TrainingClient being created>"
        error = self._ready.exception(0)
        return f"<TrainingClient failed: {error}>" if error else f"<TrainingClient {self._ready.result(0)}>"

    # ------------------------------------------------------------ telling the actor

    def _encoded(
        self, data: Sequence[Datum], loss_fn: str, loss_fn_config: LossFnConfig | None, *, forward_only: bool
    ) -> operations.Operation:
        config = self._service.config
        server = self._service.server
        return operations.forward_backward(
            data,
            loss_fn,
            loss_fn_config,
            forward_only=forward_only,
            max_chunk_len=config.max_chunk_len or server.fwdbwd_max_chunk_len,
            max_chunk_bytes=config.max_chunk_bytes or server.fwdbwd_max_chunk_bytes_count,
            dialect=self._service.dialect.dialect,
        )

    def _get_info_future(self, *, timeout: float | None = None) -> APIFuture[GetInfoResponse]:
        timeout = checked_timeout(timeout)
        future: APIFuture[GetInfoResponse] = self._future("get_info")
        self._tell(DescribeModel(future))
        return limited(self._service, future, timeout)

    def _barrier_future(self, timeout: float | None = None) -> APIFuture[None]:
        timeout = checked_timeout(timeout)
        future: APIFuture[None] = self._future("barrier")
        future._counted = False
        self._tell(Barrier(future))
        return limited(self._service, future, timeout)
