"""Keeping: what the core needs of a store, and the records that pass through it.

A store keeps, and decides nothing. It is called from jobs, that is from worker threads, except where a docstring says
otherwise. Finished futures are kept with the numbers that clients gave to the operations, so that a client which never
heard the answer to its request can send it again, even to a restarted server, and learn what became of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

from tinker_actors.local.core.ports import Arrays
from tinker_actors.types.training import LoraConfig


class CheckpointMeta(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about a checkpoint without reading its arrays.

    Attributes:
        path: its `tinker://` path.
        uid: changes when the checkpoint under a path is replaced.
        kind: what it was saved for.
        base_model: what was trained.
        lora: how.
        has_optimizer: whether the optimizer's state is part of it.
        ttl_seconds: how long its user wants it kept; None for ever.
        user_metadata: what its user said about it.
        owner: whose it is.
        public: whether other owners may read it.
        created_at: when it was saved, in seconds since 1970.
        expires_at: when it is to go, in seconds since 1970; None for never.
        size_bytes: size of its arrays.
    """

    path: str
    uid: str
    kind: Literal["training", "sampler"]
    base_model: str
    lora: LoraConfig
    has_optimizer: bool
    ttl_seconds: int | None = None
    user_metadata: dict[str, Any] | None = None
    owner: str = "local"
    public: bool = False
    created_at: float = 0.0
    expires_at: float | None = None
    size_bytes: int = 0


class Checkpoint(msgspec.Struct, frozen=True, eq=False):
    """A checkpoint with its arrays.

    Attributes:
        meta: what is known about it.
        adapter: its weights, under the names that PEFT has for them.
        optimizer: the optimizer's state; empty where there is none.
        adapter_config: what PEFT has to be told about the adapter, in JSON types.
    """

    meta: CheckpointMeta
    adapter: Arrays
    optimizer: Arrays
    adapter_config: dict[str, Any] = {}


class SessionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept about a session after its end; times are seconds since 1970.

    Attributes:
        session_id: its id.
        owner: whose it is.
        created_at: when it was created.
        project_id: the project it is counted to, or None.
        display_name: what its user calls it, or None.
        user_metadata: what its user said about it.
        status: whether it lives, and else how it ended: by its client or by the server.
        reason: for a finished one, what its client gave as the reason: `success`, `errored` or `interrupted`.
        detail: more words about how it ended, or None.
    """

    session_id: str
    owner: str
    created_at: float
    project_id: str | None = None
    display_name: str | None = None
    user_metadata: dict[str, Any] | None = None
    status: Literal["active", "client_finished", "cancelled"] = "active"
    reason: str | None = None
    detail: str | None = None


class RunRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept about a model after its session: a training run; times are seconds since 1970.

    Attributes:
        run_id: the model's id.
        owner: whose it is.
        base_model: what was trained.
        lora: how.
        created_at: when it was created.
        last_request_at: when its client last asked something of it.
        user_metadata: what its user said about it.
    """

    run_id: str
    owner: str
    base_model: str
    lora: LoraConfig
    created_at: float
    last_request_at: float
    user_metadata: dict[str, Any] | None = None


class FutureRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A finished future.

    Attributes:
        request_id: its name on the wire.
        kind: the operation, e.g. `"optim_step"`.
        owner: whose it is.
        session_id: the session that it belongs to, or None.
        model_id: for an operation on a model: that model.
        seq_id: for one with a number: the number.
        digest: for one with a number: of the request that came with it, see `digest_of`.
        failed: whether it is a failure.
        body: the encoded result or failure; None once that has been dropped for lack of room.
    """

    request_id: str
    kind: str
    owner: str
    session_id: str | None = None
    model_id: str | None = None
    seq_id: int | None = None
    digest: bytes = b""
    failed: bool = False
    body: bytes | None = None


class CheckpointExistsError(ValueError):
    """There is a checkpoint under this path already.

    Args:
        path: the path.
    """

    def __init__(self, path: str) -> None:
        super().__init__(f"{path} exists already.")


class CheckpointMissingError(ValueError):
    """There is no checkpoint under this path."""


class CheckpointDamagedError(ValueError):
    """What is kept of a checkpoint is not what was saved."""


class Store(Protocol):
    """Keeps checkpoints, results, and what is known about sessions and runs. Usable from several threads at once."""

    def write(self, checkpoint: Checkpoint, *, overwrite: bool) -> None:
        """Keep a checkpoint; it is there whole, or not at all.

        Raises:
            CheckpointExistsError: the path is taken, and `overwrite` is false.
        """
        ...

    def find(self, path: str) -> CheckpointMeta | None:
        """Return what is known about a checkpoint. Quick enough for the core's own thread."""
        ...

    def read(self, path: str) -> Checkpoint:
        """Return a checkpoint.

        Raises:
            CheckpointMissingError: there is none.
            CheckpointDamagedError: it is not what was saved; the message names the file.
        """
        ...

    def checkpoints(self) -> Sequence[CheckpointMeta]:
        """Return what is known about all checkpoints, in any order. Quick enough for the core's own thread."""
        ...

    def update(self, meta: CheckpointMeta) -> None:
        """Replace what is known about a checkpoint that is there; its path and uid stay. On the core's own thread.

        Raises:
            CheckpointMissingError: it is not there, or under another uid.
        """
        ...

    def delete(self, path: str, why: str = "it was deleted") -> None:
        """Remove a checkpoint, if it is there; when this returns, it does not come back. On the core's own thread.

        Args:
            path: the checkpoint's.
            why: the reason, for the log.
        """
        ...

    def copy(self, source: str, meta: CheckpointMeta) -> None:
        """Keep the arrays of one checkpoint under another path too. On the core's own thread: files are linked.

        Raises:
            CheckpointMissingError: there is no source.
            CheckpointExistsError: the path is taken.
        """
        ...

    def pack(self, path: str, uid: str, target: Path) -> None:
        """Write a checkpoint's files into a tar.gz; the same checkpoint gives the same bytes. Takes its time.

        Raises:
            CheckpointMissingError: there is none, or another uid.
            CheckpointDamagedError: it is not what was saved; the message names the file.
        """
        ...

    def put_session(self, record: SessionRecord) -> None:
        """Keep a session's record, in place of an earlier one. On the core's own thread."""
        ...

    def sessions(self) -> Sequence[SessionRecord]:
        """Return the records of all sessions, the oldest first. For the start of a server."""
        ...

    def forget_session(self, session_id: str) -> None:
        """Drop a session's record within moments. On the core's own thread."""
        ...

    def put_run(self, record: RunRecord) -> None:
        """Keep a training run's record, in place of an earlier one. On the core's own thread."""
        ...

    def runs(self) -> Sequence[RunRecord]:
        """Return the records of all training runs, likewise."""
        ...

    def forget_run(self, run_id: str) -> None:
        """Drop a training run's record within moments, unless it has checkpoints. On the core's own thread."""
        ...

    def note_start(self) -> int:
        """Note that a server starts on what is kept, and return how many did before."""
        ...

    def keep_future(self, record: FutureRecord) -> None:
        """Keep a finished future; it survives a kill when this returns. For jobs."""
        ...

    def note_future(self, record: FutureRecord) -> None:
        """Keep a finished future within moments; returns at once. For the core's own thread."""
        ...

    def find_future(self, request_id: str) -> FutureRecord | None:
        """Return a finished future. Quick enough for the core's own thread."""
        ...

    def find_number(self, model_id: str, seq_id: int) -> FutureRecord | None:
        """Return the finished future of a model's operation by its number; its body may be left out. Quick likewise."""
        ...

    def forget_result(self, request_id: str) -> None:
        """Drop a future's result, if it is there. On the core's own thread."""
        ...

    def close(self) -> None:
        """Finish what is being written; nothing else may be called afterwards."""
        ...
