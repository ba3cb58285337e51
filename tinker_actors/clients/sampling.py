"""The sampling client: any thread samples, and none waits for an actor.

A call reads the published snapshot, encodes the request in the caller's thread and puts one message into the lane's
inbox. The sampling and registry actors may be busy, blocked or being restarted meanwhile.
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from tinker_actors.actors.messages import Retire
from tinker_actors.actors.service import SamplerEntry, Service
from tinker_actors.actors.work import Call, Work
from tinker_actors.clients.handle import Handle
from tinker_actors.errors import APIResponseValidationError, SamplerLostError, TinkerError
from tinker_actors.protocol.endpoints import ENDPOINTS
from tinker_actors.protocol.operations import Tail, head, sample
from tinker_actors.protocol.outcomes import Accepted, Done
from tinker_actors.protocol.results import get_sampler_response, sample_response
from tinker_actors.runtime.actor import Ref, tell
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.progress import Tracker
from tinker_actors.types.inputs import ModelInput
from tinker_actors.types.sampling import SampleResponse, SamplingParams


class SamplerLease:
    """What keeps a sampler published: held by its handle and by every sample that is not finished.

    When the last of them is gone, the entry is retired and the actor stops.
    """

    __slots__ = ("__weakref__", "_snapshot", "key", "numbers")

    def __init__(self, key: int, service: Service, actor_ref: Ref) -> None:
        self.key = key
        self.numbers = itertools.count()
        self._snapshot = service.samplers
        weakref.finalize(self, _retire, actor_ref, service, key).atexit = False

    def entry(self) -> SamplerEntry | None:
        """Return the published entry: one attribute read, one dict lookup."""
        return self._snapshot.current.get(self.key)


def _retire(actor_ref: Ref, service: Service, key: int) -> None:
    """Retire a sampler nobody holds any more, through its actor or, when that is dead, directly."""
    if not tell(actor_ref, Retire(key)):
        tell(service.registry, Retire(key))


class SampleRequest:
    """One sample on its way: tells the lane when it may go, and settles its future.

    Future, request and work know each other while the sample is under way. The ties are cut when it ends, so that
    results are freed when the last reader lets go of them and not when the cycle collector comes by.
    """

    __slots__ = ("_ids", "_lanes", "_lease", "_prompt_length", "_read", "_version", "future", "work")

    def __init__(
        self,
        lease: SamplerLease,
        prompt_length: int,
        tracker: Tracker,
        service: Service,
        read: Callable[[SampleResponse], Any] | None,
    ) -> None:
        self._lease = lease
        self._prompt_length = prompt_length
        self._read = read
        self._version: int | None = None
        self._ids: list[str] | None = None
        self.work: Work | None = None
        self._lanes = service.lanes
        self.future: APIFuture[Any] | None = APIFuture(
            tracker, decode=self._decode, on_cancel=self._cancel, delivery=service.platform.delivery
        )

    @property
    def key(self) -> int:
        """The sampler's registry key."""
        return self._lease.key

    def head(self) -> bytes | TinkerError | None:
        """Return the head with a fresh number, the sampler's error, or None while it is being made."""
        entry = self._lease.entry()
        if entry is None or entry.state == "creating":
            return None
        if entry.error is not None:
            return entry.error.replica()
        self._version = entry.weights_version
        return head(sampling_session_id=entry.sampling_session_id, seq_id=next(self._lease.numbers))

    def accepted(self, work: Work, outcome: Accepted) -> None:  # noqa: ARG002 - the port's signature
        """Keep the names of the sequences."""
        self._ids = outcome.sample_sequence_ids
        if self.future is not None:
            self.future._accept(outcome.request_id)

    def done(self, work: Work, outcome: Done) -> None:  # noqa: ARG002 - the port's signature
        """Settle with the undecoded result."""
        self._settle(outcome, None)

    def failed(self, work: Work, error: TinkerError) -> None:  # noqa: ARG002 - the port's signature
        """Settle with the error."""
        self._settle(None, error)

    def gone(self, work: Work, error: TinkerError) -> bool:
        """Sample anew: a sample changes nothing on the server, so doing it again is safe."""
        fresh = self.head()
        if not isinstance(fresh, bytes):
            self._settle(None, SamplerLostError(f"The sampler is gone: {error.message}", request_id=work.request_id))
            return False
        work.renew(fresh)
        return True

    def _settle(self, outcome: Done | None, error: TinkerError | None) -> None:
        future, self.future, self.work = self.future, None, None
        if future is not None:
            future._settle(outcome, error)

    def _cancel(self, _: APIFuture[Any]) -> None:
        work, self.future, self.work = self.work, None, None
        if work is not None:
            self._lanes.cancel("sample", work)

    def _decode(self, done: Done) -> Any:
        response = sample_response(done.content_type, done.body, self._prompt_length, self._version, self._ids)
        return response if self._read is None else self._read(response)


def _prompt_logprobs(response: SampleResponse) -> list[float | None]:
    if response.prompt_logprobs is None:
        raise APIResponseValidationError("The server did not send the prompt's logprobs that were asked for.")
    return response.prompt_logprobs


class SamplingClient(Handle):
    """Samples from one set of weights. Made by `ServiceClient` or `TrainingClient`; thread-safe.

    Usable at once: samples asked for before the server has made the sampler wait for it.
    """

    def __init__(self, service: Service, key: int, actor_ref: Ref, ready: APIFuture[Any], keeper: Any) -> None:
        super().__init__(actor_ref, ready)
        self._service = service
        self._lease = SamplerLease(key, service, actor_ref)
        self._keeper = keeper  # the service client: as long as this handle lives, the service does

    def sample(
        self,
        prompt: ModelInput,
        num_samples: int,
        sampling_params: SamplingParams | Mapping[str, Any],
        include_prompt_logprobs: bool = False,
        topk_prompt_logprobs: int = 0,
    ) -> APIFuture[SampleResponse]:
        """Draw completions of a prompt.

        Reads the published sampler, encodes and returns; asks no actor and holds no thread. Cancelling the future, or
        the last task that awaits it, stops the work on the server.

        Args:
            prompt: the tokens to go on from, at least one.
            num_samples: how many completions, at least 1.
            sampling_params: how to draw tokens; a dict of the same names is accepted.
            include_prompt_logprobs: also give the log-probability of each prompt token.
            topk_prompt_logprobs: also give the k likeliest tokens at each position of the prompt.

        Returns:
            A future of `SampleResponse`.

        Raises:
            InvalidInputError: an argument that can't be right; nothing was sent.
            ClientClosedError: the service client was closed.
        """
        self._keeper._check_open("sample")
        tail = sample(prompt, num_samples, sampling_params, include_prompt_logprobs, topk_prompt_logprobs)
        return self._submit(tail, prompt.length)

    async def sample_async(self, *args: Any, **kwargs: Any) -> SampleResponse:
        """Await a sample; arguments as for `sample`."""
        return await self.sample(*args, **kwargs)

    def compute_logprobs(self, prompt: ModelInput) -> APIFuture[list[float | None]]:
        """Score a prompt.

        Args:
            prompt: at least one token.

        Returns:
            A future of one log-probability per prompt token; the first is None.

        Raises:
            InvalidInputError: an empty prompt.
        """
        self._keeper._check_open("compute_logprobs")
        tail = sample(prompt, 1, SamplingParams(max_tokens=1), include_prompt_logprobs=True)
        return self._submit(tail, prompt.length, _prompt_logprobs)

    async def compute_logprobs_async(self, prompt: ModelInput) -> list[float | None]:
        """Await the log-probabilities of a prompt; see `compute_logprobs`."""
        return await self.compute_logprobs(prompt)

    def _submit(
        self, tail: Tail, prompt_length: int, read: Callable[[SampleResponse], Any] | None = None
    ) -> APIFuture[Any]:
        service = self._service
        tracker = Tracker("sample", service.platform.control.clock.now())
        request = SampleRequest(self._lease, prompt_length, tracker, service, read)
        future = request.future
        assert future is not None
        request.work = work = Work(tail, None, request, tracker, session=service.link, admission=request)
        service.lanes.submit("sample", work)
        return future

    def get_base_model(self) -> str:
        """Return the name of the base model behind this sampler, waiting for the server if it has to say.

        Raises:
            TinkerError: the sampler could not be made.
        """
        return self._get_base_model_future().result()

    async def get_base_model_async(self) -> str:
        """Await the name of the base model behind this sampler."""
        return await self._get_base_model_future()

    def _get_base_model_future(self) -> APIFuture[str]:
        service = self._service
        name: APIFuture[str] = APIFuture(Tracker("get_base_model", 0.0), delivery=service.platform.delivery)

        def ask(ready: Any) -> None:
            error = ready.exception()
            if error is not None:
                name._settle(error=error)
                return
            entry: SamplerEntry = ready.result()
            if entry.base_model is not None:
                name._settle(entry.base_model)
                return
            endpoint = ENDPOINTS["get_sampler"]
            path = endpoint.at(sampler_id=str(entry.sampling_session_id))
            service.lanes.call(
                "control",
                Call("get_sampler", endpoint.method, path, b"", answered, lambda e: name._settle(error=e),
                     session=service.link),
            )  # fmt: skip

        def answered(done: Done) -> None:
            try:
                name._settle(get_sampler_response(done.content_type, done.body).base_model)
            except TinkerError as error:
                name._settle(error=error)

        self._ready.add_done_callback(ask)
        return name

    def __repr__(self) -> str:
        entry = self._lease.entry()
        state = entry.state if entry is not None else "retired"
        source = (entry.model_path or entry.base_model or "saved weights") if entry is not None else "nothing"
        return f"<SamplingClient {state}: {source}>"
