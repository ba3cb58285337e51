"""Fan-out: many prompts through one source, a bounded number at a time.

What is under way is kept apart from the iterator (`_Flow`): the samples know the flow, and only the loop knows the
iterator. So leaving the loop frees the iterator at once, and with it goes the rest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeVar, cast

from tinker_actors.errors import InvalidInputError, QueueFullError, WouldDeadlockError
from tinker_actors.protocol.requests.sampling import as_sampling_params, params_fields
from tinker_actors.runtime.actor import logger
from tinker_actors.runtime.delivery import Delivery, Inner, bridge_to
from tinker_actors.runtime.forks import finalize
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.runtime.gate import Gate
from tinker_actors.runtime.progress import Tracker
from tinker_actors.runtime.staying import Staying
from tinker_actors.runtime.threads import on_own_thread
from tinker_actors.types.inputs import Prompt
from tinker_actors.types.sampling import SampleResponse, SamplingParams
from tinker_actors.types.scalars import checked_int

if TYPE_CHECKING:
    import asyncio

IN_FLIGHT = 256
"""Prompts under way at a time when nothing else is said."""

# While results wait to be looked at, so many prompts are taken before the next one is given: more than one, so that
# what is under way grows to its limit, and few, so that a slow input delays no result.
_PER_TURN = 2

_NOTHING = object()

Ask = Callable[[Prompt, int, SamplingParams | Mapping[str, Any], float | None], APIFuture[SampleResponse]]
R = TypeVar("R")
"""What is given for a prompt: its response, or with `on_error="return"` maybe its error."""


class _Flow:
    """What is under way, and the news of it. News come on the delivery thread, or on the loop that reads the input."""

    def __init__(self) -> None:
        self.under_way: dict[int, APIFuture[SampleResponse]] = {}
        self.arrived: deque[int] = deque()
        self.waker: Callable[[], object] | None = None
        self.reading: asyncio.Task[Any] | None = None

    def add(self, index: int, future: APIFuture[SampleResponse]) -> None:
        self.under_way[index] = future
        future.add_done_callback(Inner(self._done, index))

    def _done(self, index: int, _: Any) -> None:
        self.arrived.append(index)
        self.ring()

    def ring(self, _: Any = None) -> None:
        """Wake whoever waits for news. He looks again after he left his waker, so none is missed."""
        waker, self.waker = self.waker, None
        if waker is not None:
            waker()

    def cancel_all(self) -> None:
        under_way, self.under_way = self.under_way, {}
        for future in under_way.values():
            future._looked_at = True  # nobody is going to
            future.cancel()
        reading, self.reading = self.reading, None
        if reading is not None and not reading.done():
            try:
                reading.get_loop().call_soon_threadsafe(reading.cancel)
            except RuntimeError:
                logger.debug("The loop that read the prompts is closed")


def _abandon(flow: _Flow, delivery: Delivery) -> None:
    # The garbage collector runs this anywhere, also where a lock is held that cancelling needs.
    if flow.under_way or flow.reading is not None:
        delivery.post(flow.cancel_all)


class FanOut(Staying, Generic[R]):
    """Iterates over `(index, response)` as they come; see `map`. For one loop, in one thread or task."""

    _elsewhere = "Pickle what it yields, or the sampling client."

    def __init__(
        self,
        delivery: Delivery,
        ask: Ask,
        prompts: Iterable[Prompt] | AsyncIterable[Prompt],
        num_samples: int,
        params: SamplingParams | Mapping[str, Any],
        in_flight: int | None,
        *,
        ordered: bool,
        on_error: Literal["raise", "return"],
    ) -> None:
        if on_error not in ("raise", "return"):
            raise InvalidInputError(f"on_error is {on_error!r}; it must be 'raise' or 'return'.")
        self._num_samples = checked_int(num_samples, "num_samples", least=1)
        self._params = as_sampling_params(params)
        params_fields(self._params)
        self._limit = checked_int(IN_FLIGHT if in_flight is None else in_flight, "in_flight", least=1)
        self._ask = ask
        self._ordered = ordered
        self._returns_errors = on_error == "return"
        self._prompts, self._async_prompts = _iterators(prompts)
        self._kept: Any = _NOTHING
        self._asked = 0
        self._given = 0
        self._closed = False
        self._early: set[int] = set()
        self._flow = flow = _Flow()
        finalize(self, _abandon, flow, delivery)

    # ------------------------------------------------------------ iterating

    def __iter__(self) -> Iterator[tuple[int, R]]:
        if self._async_prompts is not None:
            raise InvalidInputError("These prompts come from an async iterable; use `async for`.")
        return self

    def __next__(self) -> tuple[int, R]:
        try:
            while (found := self._step()) is None:
                if self._is_over():
                    break
                self._block()
        except BaseException:
            self.close()
            raise
        if found is None:
            self.close()
            raise StopIteration
        return found

    def __aiter__(self) -> AsyncIterator[tuple[int, R]]:
        return self

    async def __anext__(self) -> tuple[int, R]:
        try:
            while (found := self._step()) is None:
                if self._is_over():
                    break
                await self._wait_on_loop()
        except BaseException:
            self.close()
            raise
        if found is None:
            self.close()
            raise StopAsyncIteration
        return found

    def close(self) -> None:
        """End it: cancel what is under way on the server, take no more prompts. A second call does nothing."""
        self._closed = True
        self._prompts = self._async_prompts = None
        self._kept = _NOTHING
        self._flow.cancel_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "ended" if self._closed else "open"
        return f"<FanOut {state}: {self._given} given, {len(self._flow.under_way)} under way>"

    # ------------------------------------------------------------ one step

    def _step(self) -> tuple[int, R] | None:
        """Ask for what there is room for, and return the next item if it is there."""
        if self._closed:
            return None
        for turn in range(self._limit):
            if turn >= _PER_TURN and self._flow.arrived:
                break
            if not self._has_room() or not self._take():
                break
        index = self._arrived()
        return None if index is None else self._give(index)

    def _take(self) -> bool:
        """Take a prompt and ask for it; return whether there was one and room for it."""
        prompt = self._next_prompt() if self._kept is _NOTHING else self._kept
        if prompt is _NOTHING:
            return False
        self._kept = _NOTHING
        # Whoever has something under way waits for that, and not for room.
        patience = 0.0 if self._flow.under_way else None
        try:
            self._flow.add(self._asked, self._ask(prompt, self._num_samples, self._params, patience))
        except QueueFullError as error:
            if patience is not None:
                self._kept = prompt
                return False
            self._fail_at_once(error)
        except InvalidInputError as error:
            self._fail_at_once(error)
        self._asked += 1
        return True

    def _fail_at_once(self, error: Exception) -> None:
        if not self._returns_errors:
            raise error
        failed: APIFuture[SampleResponse] = APIFuture(Tracker("sample", 0.0))
        failed._settle(error=error)
        self._flow.under_way[self._asked] = failed
        self._flow.arrived.append(self._asked)

    def _next_prompt(self) -> Any:
        if self._prompts is not None:
            for prompt in self._prompts:
                return prompt
            self._prompts = None
        elif self._async_prompts is not None:
            return self._next_read()
        return _NOTHING

    def _next_read(self) -> Any:
        """Return the prompt that was read, and begin to read the next one."""
        import asyncio  # noqa: PLC0415 - only for those who use it

        flow, prompts = self._flow, self._async_prompts
        assert prompts is not None
        prompt = _NOTHING
        if flow.reading is not None:
            if not flow.reading.done():
                return _NOTHING
            done, flow.reading = flow.reading, None
            prompt = done.result()
            if prompt is _NOTHING:
                self._async_prompts = None
                return _NOTHING
        flow.reading = asyncio.ensure_future(_read(prompts))
        flow.reading.add_done_callback(flow.ring)
        return prompt

    def _arrived(self) -> int | None:
        arrived = self._flow.arrived
        if not self._ordered:
            return arrived.popleft() if arrived else None
        while arrived:
            self._early.add(arrived.popleft())
        if self._given not in self._early:
            return None
        self._early.discard(self._given)
        return self._given

    def _give(self, index: int) -> tuple[int, R]:
        future = self._flow.under_way.pop(index)
        self._given += 1
        error = future.exception(0) if self._returns_errors else None
        return index, cast("R", future.result(0) if error is None else error)

    # ------------------------------------------------------------ waiting

    def _is_over(self) -> bool:
        nothing_left = self._prompts is None and self._async_prompts is None and self._kept is _NOTHING
        return self._closed or (nothing_left and not self._flow.under_way)

    def _block(self) -> None:
        if on_own_thread():
            raise WouldDeadlockError("Waited for samples on a thread of the runtime.")
        news = Gate()
        self._flow.waker = news.open
        if not self._has_news():
            news.wait()

    async def _wait_on_loop(self) -> None:
        import asyncio  # noqa: PLC0415 - only for those who use it

        loop = asyncio.get_running_loop()
        bridge, waiter = bridge_to(loop), loop.create_future()
        self._flow.waker = partial(bridge.wake, waiter)
        if self._has_news():
            return
        bridge.waiters += 1
        try:
            await waiter
        finally:
            bridge.waiters -= 1

    def _has_room(self) -> bool:
        return self._asked - self._given < self._limit

    def _has_news(self) -> bool:
        if self._flow.arrived:
            return True
        reading = self._flow.reading
        # A prompt that is there and can't be asked for yet is no news: whoever waits would never wait.
        return reading is not None and reading.done() and self._kept is _NOTHING and self._has_room()


async def _read(prompts: AsyncIterator[Prompt]) -> Any:
    return await anext(prompts, _NOTHING)


def _iterators(prompts: Any) -> tuple[Iterator[Prompt] | None, AsyncIterator[Prompt] | None]:
    if isinstance(prompts, Iterable) and not isinstance(prompts, str | bytes | Mapping):
        return iter(prompts), None
    if isinstance(prompts, AsyncIterable):
        return None, aiter(prompts)
    raise InvalidInputError(
        f"prompts is a {type(prompts).__name__}; it must be an iterable of ModelInput or of lists of token ids."
    )
