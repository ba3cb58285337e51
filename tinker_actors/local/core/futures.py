"""Futures: results that are not there yet, are there, or are gone again.

A result is kept until memory is short, and then in the store: a client whose poll was answered may not have got the
answer, and polls again; so does one whose server was restarted in between.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

import msgspec

from tinker_actors.local.core.access.caller import Caller
from tinker_actors.local.core.jobs import Failure, Result
from tinker_actors.local.core.keeping import FutureRecord, Store
from tinker_actors.local.core.limits import Limits
from tinker_actors.local.core.quota import is_room
from tinker_actors.local.core.requests.dialects import PROTOBUF, in_protobuf
from tinker_actors.local.core.requests.messages import Answer, RefusedError, ok
from tinker_actors.protocol.codec import wire_json

State = Literal["pending", "finished", "lost"]

_REQUEST_ID = re.compile(r"r([0-9]{1,18})\.([0-9]{1,18})-")


class Future(msgspec.Struct, eq=False):
    """One operation that was accepted.

    Attributes:
        request_id: its name on the wire.
        kind: the operation, e.g. `"optim_step"`.
        session_id: the session that it belongs to, or None.
        owner: whose it is.
        model_id: for an operation on a model: that model.
        seq_id: for one with a number: the number that its client gave it.
        digest: for one with a number: of its request, see `digest_of`.
        state: whether it is decided, and how.
        body: the encoded result or failure, once finished.
        gone: for one lost: the sentence that says so.
        why_waiting: returns why it is still pending, or None if there is nothing to say.
        failed: whether it is finished and the result is a failure.
        on_end: called when it is decided, one way or the other.
        on_told: called when its client was answered that it failed, or never will be.
        on_forget: called when no trace of the future is left.
        weight: bytes that its request takes until it is decided.
    """

    request_id: str
    kind: str
    session_id: str | None
    owner: str
    model_id: str | None = None
    seq_id: int | None = None
    digest: bytes = b""
    state: State = "pending"
    body: bytes = b""
    gone: str = ""
    why_waiting: Callable[[], str | None] | None = None
    failed: bool = False
    on_end: Callable[[], None] | None = None
    on_told: Callable[[], None] | None = None
    on_forget: Callable[[], None] | None = None
    weight: int = 0

    @property
    def succeeded(self) -> bool:
        """Whether there is a result that is no failure."""
        return self.state == "finished" and not self.failed

    def record(self, result: Result) -> FutureRecord:
        """Return what is kept when this future has a result."""
        return FutureRecord(
            request_id=self.request_id,
            kind=self.kind,
            owner=self.owner,
            session_id=self.session_id,
            model_id=self.model_id,
            seq_id=self.seq_id,
            digest=self.digest,
            failed=isinstance(result, Failure),
            body=body_of(result),
        )


class FutureTable:
    """All futures by request id, within the limits on results and records.

    Request ids carry the number of the server's start and a running number, so that an id that was forgotten or lost
    can be told from one that never was.

    Attributes:
        beyond: the last one whose request was let in although there was no memory for it, if any.

    Args:
        limits: see `Limits`.
        new_id: returns a new random id.
        caller: for whom futures are made and looked up.
        store: keeps results for longer.
    """

    def __init__(self, limits: Limits, new_id: Callable[[], str], caller: Caller, store: Store) -> None:
        self._store = store
        self._start = store.note_start()
        self._limits = limits
        self._new_id = new_id
        self._caller = caller
        self._futures: dict[str, Future] = {}
        self._pending: dict[str | None, dict[str, Future]] = {}
        self._open: Counter[str] = Counter()
        self._held: Counter[str] = Counter()  # bytes of requests, by owner
        self._count = 0
        self._bytes = 0
        # Insertion order is age: of the fetch, and of the decision.
        self._fetched: dict[str, Future] = {}
        self._unfetched: dict[str, Future] = {}
        self._decided: set[str] = set()
        self.beyond: Future | None = None

    @property
    def is_one_beyond(self) -> bool:
        """Whether `beyond` is pending."""
        return self.beyond is not None and self.beyond.state == "pending"

    def __len__(self) -> int:
        return len(self._futures)

    @property
    def result_bytes(self) -> int:
        """Bytes of all results that are kept."""
        return self._bytes

    def require_room(self, weight: int = 0) -> None:
        """Check that the caller may have one more pending future.

        Args:
            weight: bytes that its request takes.

        Raises:
            RefusedError: 429, there are as many as the limit allows, or their requests take all the memory there is.
        """
        self.require_memory(weight)
        pending, most = self._open[self._caller.name], self._limits.open_futures
        if pending >= most:
            raise RefusedError(
                429, f"{pending} of your requests are not done yet; this server takes {most}.", ("retry-after", "1")
            )

    def require_memory(self, weight: int) -> None:
        """Check that there is memory for one more of the caller's requests.

        An owner's requests may take as much memory as is still free, so that some is left for others; a request that is
        the only one there is taken whatever its size.

        Raises:
            RefusedError: 429, the requests there are take all of it.
        """
        held, mine, limit = self._held.total(), self._held[self._caller.name], self._limits.held_bytes
        if not is_room(weight, mine, held, limit):
            raise RefusedError(
                429,
                f"Requests that are not done yet take {held} bytes; this server keeps {limit}.",
                ("retry-after", "1"),
            )

    def create(self, kind: str, session_id: str | None, weight: int = 0) -> Future:
        """Return a new pending future."""
        self._count += 1
        request_id = f"r{self._start}.{self._count}-{self._new_id()}"
        future = Future(request_id, kind, session_id, self._caller.name, weight=weight)
        self._futures[future.request_id] = future
        self._pending.setdefault(session_id, {})[future.request_id] = future
        self._open[future.owner] += 1
        self._held[future.owner] += weight
        return future

    def pending_of(self, session_id: str | None) -> list[Future]:
        """Return the pending futures of a session."""
        return list(self._pending.get(session_id, {}).values())

    def settle(self, future: Future, result: Result, *, kept: bool = False) -> None:
        """Decide a future, if that has not happened.

        Args:
            future: the future.
            result: its result.
            kept: whether the store has it already.
        """
        if self._decide(future, "finished"):
            future.failed = isinstance(result, Failure)
            future.body = body_of(result)
            if not kept:
                self._store.note_future(future.record(result))
            self._bytes += len(future.body)
            self._unfetched[future.request_id] = future
            self._make_room(future)
            self._tell(future)

    def lose(self, future: Future, why: str) -> None:
        """Decide that a future will never have a result, if it is still pending."""
        if self._decide(future, "lost"):
            future.gone = why
            self._unfetched[future.request_id] = future
            self._tell(future)

    def drop(self, request_id: str, why: str) -> None:
        """Forget a result as if memory had been short; one still to come is lost.

        Raises:
            RefusedError: 404 or 410, there is none.
        """
        future = self.find(request_id)
        self.lose(future, why)
        self._store.forget_result(request_id)
        if future.state == "finished" and request_id in self._futures:
            self._evict(future, self._fetched if request_id in self._fetched else self._unfetched)

    def get(self, request_id: str) -> Future | None:
        """Return a future that is known and the caller's own, or None."""
        future = self._futures.get(request_id) or self._kept(request_id)
        return future if future is not None and self._caller.owns(future.owner) else None

    def find(self, request_id: str) -> Future:
        """Return a future.

        Raises:
            RefusedError: 410 for one that was forgotten, 404 for one that never was.
        """
        future = self.get(request_id)
        if future is not None:
            return future
        match = _REQUEST_ID.match(request_id)
        if match is not None:
            start, count = int(match[1]), int(match[2])
            if start < self._start:
                raise RefusedError(410, f"Request {request_id[:100]} has no result: the server was restarted.")
            if start == self._start and count <= self._count:
                raise RefusedError(410, f"The result of request {request_id[:100]} is not kept any more.")
        raise RefusedError(404, f"There is no request {request_id[:100]!r}.")

    def poll(self, request_id: str, *, allow_metadata_only: bool, protobuf: bool = False) -> Answer | None:
        """Return the answer for a decided future, or None for a pending one.

        Args:
            request_id: the future's id.
            allow_metadata_only: whether a large result may be announced instead of sent.
            protobuf: whether a result that has that form is wanted in it; what is announced then is its size.

        Raises:
            RefusedError: 404 or 410, there is nothing to wait for.
        """
        future = self.find(request_id)
        if future.state == "pending":
            return None
        if future.state != "finished":
            raise RefusedError(410, future.gone)
        answer = _answer(future, protobuf=protobuf)
        size = len(answer.body)
        if allow_metadata_only and size > self._limits.inline_result_bytes:
            return ok({"status": "complete_metadata", "request_id": request_id, "response_payload_size": size})
        if request_id in self._futures:
            self._unfetched.pop(request_id, None)
            self._fetched.setdefault(request_id, future)
            if future.on_told is not None:
                future.on_told()
        return answer

    def not_yet(self, request_id: str) -> Answer:
        """Return the answer that asks to poll again."""
        future = self.find(request_id)
        reason = future.why_waiting() if future.why_waiting is not None else None
        said: dict[str, Any] = {"type": "try_again", "request_id": request_id, "queue_state": "active"}
        return ok(said if reason is None else {**said, "queue_state_reason": reason})

    def note(self, name: str) -> None:
        """Let `take_decided` return a name, because whoever waits for something under it should look again."""
        self._decided.add(name)

    def take_decided(self) -> set[str]:
        """Return the ids of futures decided since the last call, and what else was noted."""
        decided, self._decided = self._decided, set()
        return decided

    def _kept(self, request_id: str) -> Future | None:
        record = self._store.find_future(request_id) if _REQUEST_ID.match(request_id) else None
        if record is None or record.body is None:
            return None
        future = Future(request_id, record.kind, record.session_id, record.owner, state="finished", body=record.body)
        future.failed = record.failed
        return future

    def _decide(self, future: Future, state: State) -> bool:
        if future.state != "pending":
            return False
        future.state = state
        future.why_waiting = None
        self._open[future.owner] -= 1
        self._held[future.owner] -= future.weight
        pending = self._pending[future.session_id]
        del pending[future.request_id]
        if not pending:
            del self._pending[future.session_id]
        self._decided.add(future.request_id)
        return True

    def _tell(self, future: Future) -> None:
        if future.on_end is not None:
            future.on_end()

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
        if future.on_told is not None:
            future.on_told()
        if future.on_forget is not None:
            future.on_forget()


def _answer(future: Future, *, protobuf: bool) -> Answer:
    encoded = in_protobuf(future.kind, future.body) if protobuf and not future.failed else None
    return Answer(200, future.body) if encoded is None else Answer(200, encoded, (("content-type", PROTOBUF),))


def body_of(result: Result) -> bytes:
    """Return a result as a poll's answer."""
    return failure_body(result) if isinstance(result, Failure) else result.body


def failure_body(failure: Failure) -> bytes:
    """Return a failure as a poll's answer (wire protocol 5.2)."""
    said: dict[str, Any] = {"type": "request_failed", "error": failure.message, "category": failure.category}
    if failure.preceding_seq_id is not None:
        said["preceding_seq_id"] = failure.preceding_seq_id
    return wire_json.encode(said)
