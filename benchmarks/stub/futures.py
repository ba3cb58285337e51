"""Futures: what was promised, when it is due, and who waits to hear of it.

Two ways to wait, as on the wire: a held `retrieve_future` for each, or a held `retrieve_futures` for a channel, which
is a sampling session and a clone of its client.
"""

from __future__ import annotations

import heapq
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from benchmarks.stub.results import Result, reply

LONGEST_POLL = 30.0
"""Seconds after which a held `retrieve_futures` is answered without completions."""


class _Target(msgspec.Struct):
    sampling_session_id: str
    cloned_sampler_id: int = 0


class _RetrieveFutures(msgspec.Struct):
    target: _Target
    prev_cursor: int = 0
    timeout: float | None = None


class _Retrieve(msgspec.Struct):
    request_id: str


_decode_retrieve = msgspec.json.Decoder(_Retrieve).decode
_decode_retrieve_futures = msgspec.json.Decoder(_RetrieveFutures).decode


class Channel:
    """The completions of one client of a sampling session: those to come in their order, those to be told again.

    All futures are held for the same time, so that they come due in the order in which they were made.
    """

    def __init__(self) -> None:
        self.coming: deque[tuple[float, int, int]] = deque()  # due, future, size
        self.told: deque[tuple[int, bytes]] = deque()  # cursor, completion
        self.cursor = 0
        self.poll: Any = None  # the connection whose poll is held
        self.poll_ends = 0.0

    def seen(self, cursor: int) -> None:
        """Forget the completions up to this cursor."""
        while self.told and self.told[0][0] <= cursor:
            self.told.popleft()

    def gather(self, now: float) -> None:
        """Move what has come due to the completions to be told."""
        while self.coming and self.coming[0][0] <= now:
            _, number, size = self.coming.popleft()
            self.cursor += 1
            completion = b'{"state":"finished","request_id":"%d","response_payload_uncompressed_size":%d}'
            self.told.append((self.cursor, completion % (number, size)))

    def answer(self) -> bytes:
        """Return the answer to a poll."""
        completions = b",".join(completion for _, completion in self.told)
        return reply(b'{"completions":[%s],"cursor":%d}' % (completions, self.cursor))


class Futures:
    """All futures, and the requests that wait for them."""

    def __init__(self, hold: float, *, channels: bool) -> None:
        self._hold = hold
        self._futures: list[tuple[float, Result]] = []
        self._channels: dict[tuple[str, int], Channel] | None = {} if channels else None
        self._timers: list[tuple[float, int, Any, bytes]] = []  # due, order, connection or channel, answer
        self._order = 0
        self.held = 0
        self.most_held = 0
        self.protobuf = 0
        self.json = 0

    def promise(self, result: Result) -> int:
        """Make a future of this result and return its number."""
        self._futures.append((time.monotonic() + self._hold, result))
        return len(self._futures) - 1

    def announce(self, number: int, session: str, clone: int) -> None:
        """Tell the channel of a sample that there is one more to come, if there are channels."""
        if self._channels is None:
            return
        due, result = self._futures[number]
        channel = self._channel(session, clone)
        channel.coming.append((due, number, result.size))
        if channel.poll is not None and len(channel.coming) == 1:
            self._later(due, channel, b"")

    def _channel(self, session: str, clone: int) -> Channel:
        assert self._channels is not None
        key = (session, clone)
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = Channel()
        return channel

    def retrieve(self, connection: Any, head: bytes, body: bytes) -> bytes | None:
        """Answer `retrieve_future`, or hold it and return None.

        Raises:
            LookupError: there is no such future.
        """
        try:
            due, result = self._futures[int(_decode_retrieve(body).request_id)]
        except (msgspec.MsgspecError, ValueError) as error:
            raise LookupError(str(error)) from error
        if b"application/x-protobuf" in head:
            self.protobuf += 1
            answer = result.protobuf
        else:
            self.json += 1
            answer = result.json
        if time.monotonic() >= due:
            return answer
        connection.held = True
        self.held += 1
        self.most_held = max(self.most_held, self.held)
        self._later(due, connection, answer)
        return None

    def gone(self, connection: Any) -> None:
        """Count no more the request that is held on a connection, if there is one: it was answered or hung up."""
        if connection.held:
            connection.held = False
            self.held -= 1

    def retrieve_many(self, connection: Any, body: bytes) -> bytes | None:
        """Answer `retrieve_futures`, or hold it and return None.

        Raises:
            LookupError: completions are not on offer, or the request is malformed.
        """
        if self._channels is None:
            raise LookupError("retrieve_futures is not on offer")
        try:
            request = _decode_retrieve_futures(body)
        except msgspec.MsgspecError as error:
            raise LookupError(str(error)) from error
        channel = self._channel(request.target.sampling_session_id, request.target.cloned_sampler_id)
        now = time.monotonic()
        channel.seen(request.prev_cursor)
        channel.gather(now)
        if channel.told or request.timeout == 0:
            return channel.answer()
        channel.poll = connection
        channel.poll_ends = now + (LONGEST_POLL if request.timeout is None else request.timeout)
        if channel.coming:
            self._later(channel.coming[0][0], channel, b"")
        self._later(channel.poll_ends, channel, b"")
        return None

    def _later(self, due: float, who: Any, answer: bytes) -> None:
        self._order += 1
        heapq.heappush(self._timers, (due, self._order, who, answer))

    def wait(self) -> float:
        """Return the seconds until something is due; -1 when nothing is."""
        return -1.0 if not self._timers else max(0.0, self._timers[0][0] - time.monotonic())

    def due(self, send: Callable[[Any, bytes], None]) -> None:
        """Answer what was held and whose time has come."""
        timers = self._timers
        if not timers:
            return
        now = time.monotonic()
        while timers and timers[0][0] <= now:
            _, _, who, answer = heapq.heappop(timers)
            if answer:
                if who.held:
                    self.gone(who)
                    send(who, answer)
                continue
            who.gather(now)
            if who.poll is not None and (who.told or now >= who.poll_ends):
                connection, who.poll = who.poll, None
                send(connection, who.answer())
