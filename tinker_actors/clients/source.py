"""Sources: what everything has in common that one can sample from.

Samplers, policies and pinned policies differ in which sampler a request is for. What is done with it is the same: check
and encode in the caller's thread, find room, and put one message into the lane's inbox.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self, overload

from msgspec import UNSET, UnsetType

from tinker_actors.actors.lane.options import DEFAULT_TERMS, Priority, Terms
from tinker_actors.actors.lane.work import Work
from tinker_actors.actors.service import Service
from tinker_actors.clients.admission import OVERHEAD, wait_for_room
from tinker_actors.clients.options import changed_terms
from tinker_actors.clients.sample_request import Read, SampleRequest
from tinker_actors.clients.twins import awaits
from tinker_actors.errors import APIResponseValidationError, TinkerError
from tinker_actors.loading import load
from tinker_actors.protocol.requests.checks import known_length
from tinker_actors.protocol.requests.operations import Tail, sample
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.progress import Tracker
from tinker_actors.types.inputs import ModelInput, Prompt, as_model_input
from tinker_actors.types.sampling import SampleResponse, SamplingParams

if TYPE_CHECKING:
    from tinker_actors.clients.fan_out import FanOut


class SampleSource(ABC):
    """Base of what can be sampled from. Thread-safe."""

    _service: Service
    _keeper: Any
    _terms: Terms = DEFAULT_TERMS
    _may_block = True  # whether the caller of `sample` waits for room
    _viewed: Self | None = None  # what a view was made of

    def sample(
        self,
        prompt: Prompt,
        num_samples: int,
        sampling_params: SamplingParams | Mapping[str, Any],
        include_prompt_logprobs: bool = False,
        topk_prompt_logprobs: int = 0,
    ) -> APIFuture[SampleResponse]:
        """Draw completions of a prompt.

        Reads the published sampler, encodes and returns; asks no actor and holds no thread. Cancelling the future, or
        the last task that awaits it, stops the work on the server.

        When the samples under way fill `Config(queue_bytes=)`, the call waits for room, at most `Config(max_block=)`
        seconds. In a thread with a running event loop it never waits: the future does, unless twice as much is held
        and waited for already.

        Args:
            prompt: the tokens to go on from, at least one; token ids alone are taken, too.
            num_samples: how many completions, at least 1.
            sampling_params: how to draw tokens; a dict of the same names is accepted.
            include_prompt_logprobs: also give the log-probability of each prompt token.
            topk_prompt_logprobs: also give the k likeliest tokens at each position of the prompt.

        Returns:
            A future of `SampleResponse`.

        Raises:
            InvalidInputError: an argument that can't be right; nothing was sent.
            QueueFullError: there was no room in time.
            ClientClosedError: the service client was closed.
        """
        self._keeper._check_open("sample")
        if not isinstance(prompt, ModelInput):
            prompt = as_model_input(prompt, "prompt")
        tail = sample(prompt, num_samples, sampling_params, include_prompt_logprobs, topk_prompt_logprobs)
        return self._submit(tail, prompt)

    @awaits(sample)  # noqa: B027 - the twin has a body
    def sample_async(self) -> None:
        """Await a sample; arguments as for `sample`."""

    def compute_logprobs(self, prompt: Prompt) -> APIFuture[list[float | None]]:
        """Score a prompt.

        Args:
            prompt: at least one token.

        Returns:
            A future of one log-probability per prompt token; the first is None.

        Raises:
            InvalidInputError: an empty prompt.
            QueueFullError: there was no room in time; see `sample`.
            ClientClosedError: the service client was closed.
        """
        self._keeper._check_open("compute_logprobs")
        if not isinstance(prompt, ModelInput):
            prompt = as_model_input(prompt, "prompt")
        tail = sample(prompt, 1, SamplingParams(max_tokens=1), include_prompt_logprobs=True)
        return self._submit(tail, prompt, _prompt_logprobs)

    @awaits(compute_logprobs)  # noqa: B027 - the twin has a body
    def compute_logprobs_async(self) -> None:
        """Await the log-probabilities of a prompt; see `compute_logprobs`."""

    @overload
    def map(
        self,
        prompts: Iterable[Prompt] | AsyncIterable[Prompt],
        num_samples: int,
        params: SamplingParams | Mapping[str, Any],
        *,
        in_flight: int | None = None,
        ordered: bool = False,
        on_error: Literal["raise"] = "raise",
    ) -> FanOut[SampleResponse]: ...

    @overload
    def map(
        self,
        prompts: Iterable[Prompt] | AsyncIterable[Prompt],
        num_samples: int,
        params: SamplingParams | Mapping[str, Any],
        *,
        in_flight: int | None = None,
        ordered: bool = False,
        on_error: Literal["return"],
    ) -> FanOut[SampleResponse | BaseException]: ...

    def map(
        self,
        prompts: Iterable[Prompt] | AsyncIterable[Prompt],
        num_samples: int,
        params: SamplingParams | Mapping[str, Any],
        *,
        in_flight: int | None = None,
        ordered: bool = False,
        on_error: Literal["raise", "return"] = "raise",
    ) -> FanOut[Any]:
        """Sample many prompts, a bounded number at a time, and iterate over `(index, response)`.

        Usable in `for` and in `async for`. Prompts are taken one by one, when there is room for them, by whoever
        iterates; nothing is sent before the first step. Leaving the loop, with `break` or by an exception, cancels
        what is under way on the server, as do `close()`, the end of a `with` block and dropping the iterator. No
        thread is held, and in `async for` none is blocked.

        Args:
            prompts: what to sample; any iterable, endless ones included. For `async for` also an async iterable.
            num_samples: how many completions of each, at least 1.
            params: how to draw tokens.
            in_flight: how many prompts are under way or wait to be looked at; default: the view's `max_in_flight`, or
                256.
            ordered: give the responses in the order of the prompts instead of as they come.
            on_error: `"raise"` ends with the first error, cancelling the rest; `"return"` gives the error in place of
                the response and goes on.

        Returns:
            An iterator, async iterator and context manager; for one loop in one thread or task.

        Raises:
            InvalidInputError: an argument that can't be right. A prompt that can't be right is an error of its own.
            ClientClosedError: the service client was closed.
        """
        load("tinker_actors.clients.fan_out")
        from tinker_actors.clients.fan_out import FanOut  # noqa: PLC0415 - only for those who use it

        self._keeper._check_open("map")
        room = self._terms.room
        if in_flight is None and room is not None:
            in_flight = room.limit
        return FanOut(self._service.platform.delivery, self._ask, prompts, num_samples, params, in_flight,
                      ordered=ordered, on_error=on_error)  # fmt: skip

    def with_options(
        self,
        *,
        timeout: float | UnsetType | None = UNSET,
        priority: Priority | UnsetType = UNSET,
        max_in_flight: int | UnsetType | None = UNSET,
        retry: int | Literal[False] | UnsetType | None = UNSET,
        tags: Iterable[str] | UnsetType = UNSET,
    ) -> Self:
        """Return a view: the same sampler, with other terms for what is sampled through it.

        A view costs an object: no actor, no request, no thread. What is not given stays as it is here.

        Args:
            timeout: seconds from the call after which a sample is cancelled on the server and fails with
                `DeadlineExceededError`; None leaves it to the limits of the config.
            priority: what goes first when not everything can go: `"train"` before `"rollout"` (the default) before
                `"eval"`.
            max_in_flight: samples of this view, and of views made of it, under way at a time; more of them wait here.
                None for no limit.
            retry: how often a request that failed for a passing reason is repeated before the sample fails with it;
                False for not at all, None (the default) until a limit of the config ends it. Being asked to slow down
                is no failure.
            tags: labels of your own, shown by `future.progress()`.

        Raises:
            InvalidInputError: a value that can't be right.
        """
        options = {
            "timeout": timeout,
            "priority": priority,
            "max_in_flight": max_in_flight,
            "retry": retry,
            "tags": tags,
        }
        view = self._copy()
        view._terms = changed_terms(self._terms, options)
        return view

    def _copy(self) -> Self:
        view = object.__new__(type(self))
        view.__dict__.update(self.__dict__)
        view._viewed = self._viewed or self  # by which the actor's reference finds it
        return view

    @abstractmethod
    def proxy(self) -> Any:
        """Return a proxy: pykka's way to call, with futures that flatten. Thread-safe."""

    # ------------------------------------------------------------ submitting

    @abstractmethod
    def _request(self, prompt_length: int, tracker: Tracker, read: Read | None) -> SampleRequest:
        """Return a request for the sampler this stands for; a length of 0 says that only the server knows it."""

    def _ask(
        self, prompt: Prompt, num_samples: int, params: SamplingParams | Mapping[str, Any], patience: float | None
    ) -> APIFuture[SampleResponse]:
        self._keeper._check_open("map")
        if not isinstance(prompt, ModelInput):
            prompt = as_model_input(prompt, "prompt")
        return self._submit(sample(prompt, num_samples, params), prompt, None, patience)

    def _sample_future(self, *args: Any, **kwargs: Any) -> APIFuture[SampleResponse]:
        """Do as `sample`, and never wait: the future stands in line for room."""
        return self._unblocking().sample(*args, **kwargs)

    def _compute_logprobs_future(self, *args: Any, **kwargs: Any) -> APIFuture[list[float | None]]:
        return self._unblocking().compute_logprobs(*args, **kwargs)

    def _unblocking(self) -> Self:
        view = self._copy()
        view._may_block = False
        return view

    def _submit(
        self, tail: Tail, prompt: ModelInput, read: Read | None = None, patience: float | None = None
    ) -> APIFuture[Any]:
        service, terms = self._service, self._terms
        lanes = service.lanes
        tracker = Tracker("sample", service.platform.control.clock.now(), "queued here", terms.tags, lanes.server)
        request = self._request(known_length(prompt) or 0, tracker, read)
        future = request.future
        assert future is not None
        request.size = len(tail.body) + OVERHEAD
        work = Work(tail, None, request, tracker, session=service.link, admission=request, terms=terms)
        request.work = work
        try:
            if not lanes.queue_budget.try_take(request):
                patience = terms.timeout if patience is None else patience
                wait_for_room(request, service, self._keeper, patience, may_block=self._may_block)
            head = request.head()  # read from the registry's shared dict, here and without asking anybody
            if isinstance(head, TinkerError):
                request.failed(work, head)
            else:
                work.head = head  # None parks it until the registry says that the sampler is there
                lanes.submit("sample", work)
        except BaseException:  # no room, or an interrupt (Ctrl-C): what was taken and told so far is taken back
            future.cancel()
            raise
        return future


def _prompt_logprobs(response: SampleResponse) -> list[float | None]:
    if response.prompt_logprobs is None:
        raise APIResponseValidationError("The server did not send the prompt's logprobs that were asked for.")
    return response.prompt_logprobs
