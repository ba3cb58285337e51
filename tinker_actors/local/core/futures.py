"""Futures: results that are not there yet, are there, or are gone again.

A result is kept until memory is short: a client whose poll was answered may not have got the answer, and polls again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from tinker_actors.local.core.jobs import Failure, Result
from tinker_actors.local.core.limits import Limits
from tinker_actors.local.core.messages import Answer, RefusedError, ok
from tinker_actors.protocol import codec

State = Literal["pending", "finished", "lost"]


class Future(msgspec.Struct, eq=False):
    """One operation that was accepted.

    Attributes:
        request_id: its name on the wire.
        kind: the operation, e.g. `"optim_step"`.
        session_id: the session that it belongs to, or None.
        state: whether it is decided, and how.
        body: the encoded result or failure, once finished.
        gone: for one lost: the sentence that says so.
        why_waiting: returns why it is still pending, or None if there is nothing to say.
        on_forget: called when no trace of the future is left.
    """

    request_id: str
    kind: str
    session_id: str | None
    state: State = "pending"
    body: bytes = b""
    gone: str = ""
    why_waiting: Callable[[], str | None] | None = None
    on_forget: Callable[[], None] | None = None


class FutureTable:
    """All futures by request id, within the limits on results and records.

    Request ids carry a running number, so that an id that was forgotten can be told from one that never was.

    Args:
        limits: see `Limits`.
        new_id: returns a new random id.
    """

    def __init__(self, limits: Limits, new_id: Callable[[], str]) -> None:
        self._limits = limits
        self._new_id = new_id
        self._futures: dict[str, Future] = {}
        self._pending: dict[str | None, dict[str, Future]] = {}
        self._count = 0
        self._bytes = 0
        # Insertion order is age: of the fetch, and of the decision.
        self._fetched: dict[str, Future] = {}
        self._unfetched: dict[str, Future] = {}
        self._decided: set[str] = set()

    def __len__(self) -> int:
        return len(self._futures)

    @property
    def result_bytes(self) -> int:
        """Bytes of all results that are kept."""
        return self._bytes

    def create(self, kind: str, session_id: str | None) -> Future:
        """Return a new pending future."""
        self._count += 1
        future = Future(f"r{self._count}-{self._new_id()}", kind, session_id)
        self._futures[future.request_id] = future
        self._pending.setdefault(session_id, {})[future.request_id] = future
        return future

    def pending_of(self, session_id: str | None) -> list[Future]:
        """Return the pending futures of a session."""
        return list(self._pending.get(session_id, {}).values())

    def settle(self, future: Future, result: Result) -> None:
        """Decide a future, if that has not happened."""
        if self._decide(future, "finished"):
            future.body = failure_body(result) if isinstance(result, Failure) else result.body
            self._bytes += len(future.body)
            self._unfetched[future.request_id] = future
            self._make_room(future)

    def lose(self, future: Future, why: str) -> None:
        """Decide that a future will never have a result, if it is still pending."""
        if self._decide(future, "lost"):
            future.gone = why
            self._unfetched[future.request_id] = future

    def find(self, request_id: str) -> Future:
        """Return a future.

        Raises:
            RefusedError: 410 for one that was forgotten, 404 for one that never was.
        """
        future = self._futures.get(request_id)
        if future is not None:
            return future
        number = request_id.removeprefix("r").partition("-")[0]
        if number.isdecimal() and int(number[:18]) <= self._count:
            raise RefusedError(410, f"The result of request {request_id[:100]} is not kept any more.")
        raise RefusedError(404, f"There is no request {request_id[:100]!r}.")

    def poll(self, request_id: str, *, allow_metadata_only: bool) -> Answer | None:
        """Return the answer for a decided future, or None for a pending one.

        Raises:
            RefusedError: 404 or 410, there is nothing to wait for.
        """
        future = self.find(request_id)
        if future.state == "pending":
            return None
        if future.state != "finished":
            raise RefusedError(410, future.gone)
        if allow_metadata_only and len(future.body) > self._limits.inline_result_bytes:
            size = len(future.body)
            return ok({"status": "complete_metadata", "request_id": request_id, "response_payload_size": size})
        self._unfetched.pop(request_id, None)
        self._fetched.setdefault(request_id, future)
        return Answer(200, future.body)

    def not_yet(self, request_id: str) -> Answer:
        """Return the answer that asks to poll again."""
        future = self.find(request_id)
        reason = future.why_waiting() if future.why_waiting is not None else None
        said: dict[str, Any] = {"type": "try_again", "request_id": request_id, "queue_state": "active"}
        return ok(said if reason is None else {**said, "queue_state_reason": reason})

    def take_decided(self) -> set[str]:
        """Return the ids of futures decided since the last call."""
        decided, self._decided = self._decided, set()
        return decided

    def _decide(self, future: Future, state: State) -> bool:
        if future.state != "pending":
            return False
        future.state = state
        future.why_waiting = None
        pending = self._pending[future.session_id]
        del pending[future.request_id]
        if not pending:
            del self._pending[future.session_id]
        self._decided.add(future.request_id)
        return True

    def _make_room(self, newest: Future) -> None:
        for queue in (self._fetched, self._unfetched):
            while queue and self._over_limit():
                oldest = next(iter(queue.values()))
                if oldest is newest:
                    return
                self._evict(oldest, queue)

    def _over_limit(self) -> bool:
        finished = len(self._fetched) + len(self._unfetched)
        return self._bytes > self._limits.result_bytes or finished > self._limits.future_records

    def _evict(self, future: Future, queue: dict[str, Future]) -> None:
        del queue[future.request_id]
        del self._futures[future.request_id]
        self._bytes -= len(future.body)
        future.body = b""
        if future.on_forget is not None:
            future.on_forget()


def failure_body(failure: Failure) -> bytes:
    """Return a failure as a poll's answer (wire protocol 5.2)."""
    said: dict[str, Any] = {"type": "request_failed", "error": failure.message, "category": failure.category}
    if failure.preceding_seq_id is not None:
        said["preceding_seq_id"] = failure.preceding_seq_id
    return codec.encode(said)
