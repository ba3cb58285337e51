"""Checkpoints and records to keep, and stores that are closed in the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tinker_actors.local.core.keeping import Checkpoint, CheckpointMeta, FutureRecord
from tinker_actors.local.store.files import FileStore
from tinker_actors.types.training import LoraConfig

PATH = "tinker://session-1:train:0/weights/step_1"


def checkpoint(value: float, path: str = PATH, *, optimizer: bool = True, uid: str = "u") -> Checkpoint:
    meta = CheckpointMeta(
        path=path,
        uid=uid,
        kind="training" if optimizer else "sampler",
        base_model="local/tiny",
        lora=LoraConfig(rank=2, seed=7),
        has_optimizer=optimizer,
        user_metadata={"note": "ä"},
    )
    state = {"step": np.array([3]), "m": np.full(4, value, np.float32)} if optimizer else {}
    # A transposed view: what is saved must be its values, not the memory below it.
    adapter = {"a": np.full((2, 3), value, np.float32).T, "b": np.arange(6.0).reshape(2, 3).T}
    return Checkpoint(meta, adapter, state, {"peft_type": "LORA", "r": 2})


def future(number: int, size: int = 10, seq_id: int | None = None) -> FutureRecord:
    return FutureRecord(
        request_id=f"r0.{number}-x",
        kind="optim_step",
        owner="me",
        session_id="session-1",
        model_id="session-1:train:0",
        seq_id=number if seq_id is None else seq_id,
        digest=bytes([number % 256]),
        failed=number % 2 == 1,
        body=b"%d" % (number % 10) * size,
    )


class Making:
    """The records above, for tests."""

    path = PATH
    checkpoint = staticmethod(checkpoint)
    future = staticmethod(future)


@pytest.fixture
def making() -> type[Making]:
    return Making


@pytest.fixture
def open_store(tmp_path):
    """Opens the store of this test; an earlier one is let go of as a crash would, with what it had only noted."""
    opened: list[FileStore] = []

    def crash(store: FileStore) -> None:
        store._database._notes.clear()
        store.close()

    def start(root: Path = tmp_path, **options: int) -> FileStore:
        if opened:
            crash(opened.pop())
        opened.append(FileStore(root, **options))
        return opened[0]

    yield start
    for store in opened:
        store.close()
