"""App: the HTTP side of the service core, as a starlette application.

The core is touched by the event loop's thread only. A held poll costs a task and a connection, no thread, so thousands
can be held.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from tinker_actors.local.archiving import Archives
from tinker_actors.local.core import Answer, CoreRequest, Hold, ServiceCore
from tinker_actors.local.core.requests.messages import RefusedError, ok
from tinker_actors.local.core.requests.opening import is_heavy, opened
from tinker_actors.local.core.samples.streams import Stream, event
from tinker_actors.local.http.answers import response_of
from tinker_actors.local.http.aside import in_thread
from tinker_actors.local.http.event_stream import EventStream
from tinker_actors.local.workers import Worker

_LOG = logging.getLogger(__name__)

TICK_SECONDS = 1.0
"""How often the core is told that time passes; small against the 300 s after which a session expires."""

# A tick that is so many seconds late: the process was stopped, or the loop. What clients sent meanwhile waits unread.
_STOOD_STILL = 2.0

_JOIN_SECONDS = 2.0
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class App:
    """The application around one core. Its methods are for the event loop's thread.

    Attributes:
        asgi: the application, for any ASGI server.
        clock_offset: seconds by which the core's clock is ahead of the event loop's; must not become smaller.

    Args:
        core: the rules.
        archives: the folder in which one for archives of checkpoints is made; None for a temporary one.
    """

    def __init__(self, core: ServiceCore, archives: Path | None = None) -> None:
        self._core = core
        self._archives = Archives(core.state.store, archives)
        self._workers: list[Worker] = []
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._closing = False
        self._reading = asyncio.Lock()  # one at a time: what bodies become while they are read takes memory too
        self.clock_offset = 0.0
        routes = [Route("/{path:path}", self._serve, methods=_METHODS)]
        self.asgi: ASGIApp = Starlette(routes=routes, lifespan=self._lifespan)

    @property
    def held(self) -> int:
        """How many polls are held."""
        return sum(len(waiters) for waiters in self._waiting.values())

    def check_key(self, headers: Mapping[str, str]) -> None:
        """Check a request's key before much work is done for it.

        Raises:
            RefusedError: 401, it is nobody's.
        """
        self._core.check_key(headers, self._now())

    def release(self) -> None:
        """Answer every held poll at once, and hold none from now on."""
        self._closing = True
        self._wake_waiting(set(self._waiting))

    def wake(self) -> None:
        """Look at every held poll again: the clock has jumped, or the core was changed from outside."""
        self._wake_waiting(self._core.take_decided() | set(self._waiting))

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        self._workers = [
            Worker(self._core, "train", self._wake_waiting, self._now),
            Worker(self._core, "sample", self._wake_waiting, self._now),
        ]
        ticking = asyncio.create_task(self._tick())
        try:
            yield
        finally:
            ticking.cancel()
            self.release()
            self._archives.close()
            for worker in self._workers:
                worker.stop()
            for worker in self._workers:
                if not worker.join(_JOIN_SECONDS):
                    _LOG.warning("a job is still running; it ends with the process")

    async def _serve(self, request: Request) -> Response:
        query = request.scope["query_string"].decode("latin-1")
        path = request.scope.get("raw_path", b"").decode("latin-1").partition("?")[0]
        whole = f"{path}?{query}" if query else path
        try:
            body = await request.body()
            asked = await self._opened(CoreRequest(request.method, whole, dict(request.headers), body))
        except RefusedError as refusal:
            return response_of(refusal.answer())
        except ClientDisconnect:
            return Response(status_code=499)  # nobody reads it
        answer = self._handle(asked)
        if isinstance(answer, Stream):
            return EventStream(self._events(answer), partial(self._abandon, answer))
        if isinstance(answer, Hold):
            answer = await self._held(answer, request)
        if answer.attachment is not None:
            return await self._archives.respond(answer, answer.attachment, request)
        return response_of(answer)

    def _handle(self, request: CoreRequest) -> Answer | Hold | Stream:
        try:
            answer = self._core.handle(request, self._now())
        except Exception as error:
            _LOG.exception("%s %s failed", request.method, request.path)
            said = ok({"detail": f"The server failed: {type(error).__name__}. Its log says more."})
            return Answer(500, said.body)
        self._after_change()
        return answer

    def _after_change(self) -> None:
        self._wake_waiting(self._core.take_decided())
        for worker in self._workers:
            worker.wake()

    async def _opened(self, request: CoreRequest) -> CoreRequest:
        """Return a request whose body has been read on another thread, if that takes long."""
        if not is_heavy(request):
            return request
        self.check_key(request.headers)
        async with self._reading:
            return await in_thread("read", lambda: opened(request, self._core.limits))

    async def _held(self, hold: Hold, request: Request) -> Answer:
        gone = asyncio.ensure_future(request.receive())
        try:
            while not self._closing and not gone.done():
                await self._decided_or_gone(hold, gone)
                answer = self._core.resume(hold, self._now())
                if answer is not None:
                    return answer
        finally:
            gone.cancel()
        # Closing, or the client is gone: whoever reads it may ask again.
        return self._core.resume(hold, hold.deadline) or Answer(503, b"{}")

    async def _decided_or_gone(self, hold: Hold, gone: asyncio.Future[Any]) -> None:
        with self._listening(hold.request_id) as waiter:
            await asyncio.wait(
                (waiter, gone), timeout=max(0.0, hold.deadline - self._now()), return_when=asyncio.FIRST_COMPLETED
            )

    @contextlib.contextmanager
    def _listening(self, name: str) -> Iterator[asyncio.Future[None]]:
        """Give a future that is done when there is news under a name."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(name, set()).add(waiter)
        try:
            yield waiter
        finally:
            waiters = self._waiting.get(name, set())
            waiters.discard(waiter)
            if not waiters:
                self._waiting.pop(name, None)

    async def _events(self, stream: Stream) -> AsyncIterator[bytes]:
        while True:
            data, over = self._core.take_events(stream)
            if data:
                yield data  # and look again: there may be more by now
            if over:
                return
            if self._closing:
                yield event({"error": "The server is stopping."})
                return
            if not data:
                with self._listening(stream.request_id) as waiter:
                    await waiter

    def _abandon(self, stream: Stream) -> None:
        self._core.abandon(stream)
        self._after_change()

    def _wake_waiting(self, request_ids: set[str]) -> None:
        for request_id in request_ids:
            for waiter in self._waiting.get(request_id, ()):
                if not waiter.done():
                    waiter.set_result(None)

    async def _tick(self) -> None:
        failed = False
        now = asyncio.get_running_loop().time
        while True:
            asleep = now()
            await asyncio.sleep(TICK_SECONDS)
            late = now() - asleep - TICK_SECONDS
            if late > _STOOD_STILL:
                self._core.stood_still(late)
            try:
                self._pass_time()
            except Exception:
                # A full disk, say: the next one may do better. Once in a row is enough for the log.
                if not failed:
                    _LOG.exception("what is done every second failed")
                failed = True
            else:
                failed = False

    def _pass_time(self) -> None:
        try:
            self._wake_waiting(self._core.tick(self._now()))
        finally:
            self._after_change()

    def _now(self) -> float:
        return asyncio.get_running_loop().time() + self.clock_offset
