"""The proxy of what one can sample from: what those of samplers, policies and pins have in common."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, overload

from msgspec import UNSET, UnsetType

from tinker_actors.actors.lane.options import Priority
from tinker_actors.clients.proxy import ClientProxy, submitting
from tinker_actors.clients.source import SampleSource
from tinker_actors.runtime.futures import APIFuture, resolved
from tinker_actors.types.inputs import Prompt
from tinker_actors.types.sampling import SampleResponse, SamplingParams

if TYPE_CHECKING:
    from tinker_actors.clients.fan_out import FanOut

S = TypeVar("S", bound=SampleSource)


class SourceProxy(ClientProxy[S]):
    """What the proxies of all sources have; see `SampleSource` for what their methods do.

    A sample that finds no room never waits in its caller's thread: its future does, as in an event loop.
    """

    sample: Final = submitting(SampleSource.sample)
    compute_logprobs: Final = submitting(SampleSource.compute_logprobs)

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
    ) -> APIFuture[FanOut[SampleResponse]]: ...

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
    ) -> APIFuture[FanOut[SampleResponse | BaseException]]: ...

    def map(
        self,
        prompts: Iterable[Prompt] | AsyncIterable[Prompt],
        num_samples: int,
        params: SamplingParams | Mapping[str, Any],
        *,
        in_flight: int | None = None,
        ordered: bool = False,
        on_error: Literal["raise", "return"] = "raise",
    ) -> APIFuture[Any]:
        """Return a future, done at once, of the iterator that `SampleSource.map` returns; whoever iterates samples."""
        fan_out: Any = self._client.map(
            prompts, num_samples, params, in_flight=in_flight, ordered=ordered, on_error=on_error
        )  # fmt: skip
        return resolved(fan_out, "map")

    def with_options(
        self,
        *,
        timeout: float | UnsetType | None = UNSET,
        priority: Priority | UnsetType = UNSET,
        max_in_flight: int | UnsetType | None = UNSET,
        retry: int | Literal[False] | UnsetType | None = UNSET,
        tags: Iterable[str] | UnsetType = UNSET,
    ) -> APIFuture[S]:
        """Return a future, done at once, of the view that `SampleSource.with_options` returns."""
        view = self._client.with_options(
            timeout=timeout, priority=priority, max_in_flight=max_in_flight, retry=retry, tags=tags
        )
        return resolved(view, "with_options")
