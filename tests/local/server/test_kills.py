"""Fifty kills while checkpoints are saved: what was answered is there, nothing half is, and all goes on."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from tinker_actors.local.launching import BLAS_VARIABLES
from tinker_actors.local.store.files import DATABASE, FileStore

pytestmark = pytest.mark.slow

KILLS = 10
SEEDS = range(5)  # five times ten kills
MOST_ANSWERS = 6
"""A life goes on until up to so many saves were answered, ..."""

MOST_SECONDS = 0.03
"""... and then for up to so long, in which some more are under way."""

FORKING = Path(__file__).with_name("forking.py")


class Forked:
    """Real servers, one after the other, forked off a process that has loaded everything."""

    def __init__(self) -> None:
        self._parent = subprocess.Popen(
            [sys.executable, str(FORKING)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **dict.fromkeys(BLAS_VARIABLES, "1"), "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        self.url = ""
        self._pid = 0

    def start(self, data_dir: Path) -> Forked:
        self._parent.stdin.write(f"{data_dir}\n")
        self._parent.stdin.flush()
        ready = json.loads(self._parent.stdout.readline())
        self.url, self._pid = ready["url"], ready["pid"]
        return self

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)

    def wait(self) -> int:
        return int(self._parent.stdout.readline())

    def close(self) -> None:
        self._parent.stdin.close()
        self._parent.wait()
        self._parent.stdout.close()


@pytest.fixture(scope="module")
def forked():
    servers = Forked()
    yield servers
    servers.close()


class Trainer:
    """A client that trains and saves through many lives of its server, and remembers what it was told."""

    def __init__(self) -> None:
        self.step = 0
        self.submitted: set[str] = set()
        self.answered: dict[str, int] = {}  # path -> step
        self.futures: dict[str, Any] = {}  # request id -> result
        self.sessions: list[str] = []
        self.loadable: str | None = None

    def begin(self, wire: Any) -> str:
        """Check what earlier lives left, over the wire, and return a model that goes on from there."""
        if self.loadable is None:
            self.step = 0
            self.sessions.append(wire.session)
            return wire.create_model(rank=1)
        assert wire.post("session_heartbeat", {"session_id": self.sessions[-1]}).status_code == 410
        request_id = list(self.futures)[-1]
        assert wire.result(request_id) == self.futures[request_id]
        path = self.loadable
        assert wire.good("weights_info", {"tinker_path": path})["lora_rank"] == 1
        self.sessions.append(wire.session)
        self.step = self.answered[path]
        body = {"session_id": wire.session, "model_seq_id": 0, "path": path, "optimizer": True}
        return self.keep(wire, wire.submit("load_weights", body))["model_id"]

    def train(self, wire: Any, model: str, life: int, bodies: Any, on_answer: Callable[[], None]) -> None:
        """Train and save until the server is gone. Up to two rounds are always under way."""
        waiting: list[tuple[str, int]] = []
        for number in range(1, 10_000):
            first = 5 * number - 4
            wire.submit("forward_backward", bodies.gradient(model, first, b"abcdefgh"))
            wire.submit("optim_step", bodies.step(model, first + 1))
            self.step += 1
            note = {"model_id": model, "user_metadata": {"step": self.step}}
            name = f"life{life}-{number}"
            saves = [
                ("save_weights", {**note, "seq_id": first + 2, "path": name}),
                ("save_weights", {**note, "seq_id": first + 3, "path": "newest", "overwrite": True}),
                ("save_weights_for_sampler", {**note, "seq_id": first + 4, "path": name}),
            ]
            for endpoint, body in saves:
                segment = "weights" if endpoint == "save_weights" else "sampler_weights"
                self.submitted.add(f"tinker://{model}/{segment}/{body['path']}")
                waiting.append((wire.submit(endpoint, body), self.step))
            while len(waiting) > len(saves):
                request_id, step = waiting.pop(0)
                path = self.keep(wire, request_id)["path"]
                self.answered[path] = step
                if "/weights/life" in path:  # the other one may have been replaced, unanswered
                    self.loadable = path
                on_answer()

    def keep(self, wire: Any, request_id: str) -> Any:
        result = wire.result(request_id)
        self.futures[request_id] = result
        return result


def live(server: Forked, trainer: Trainer, life: int, chance: random.Random, connect: Any, bodies: Any) -> int:
    """Let a trainer work with a server until that is killed. Returns how many saves were answered at least."""
    enough, killed = chance.randint(0, MOST_ANSWERS), threading.Event()
    answers, delay = threading.Semaphore(0), chance.uniform(0, MOST_SECONDS)

    def kill() -> None:
        for _ in range(enough):
            answers.acquire()
        killed.wait(delay)  # nobody sets it: a pause
        server.kill()

    wire = connect(server)
    model = trainer.begin(wire)
    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        trainer.train(wire, model, life, bodies, answers.release)
    assert server.wait() == -signal.SIGKILL
    return enough


def check(folder: Path, trainer: Trainer, known: set[str]) -> set[str]:
    """Look at what is on disk, and return the paths of all checkpoints."""
    connection = sqlite3.connect(folder / DATABASE)
    assert connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
    connection.close()
    with contextlib.closing(FileStore(folder)) as store:
        listed = {meta.path: meta for meta in store.checkpoints()}
        assert not trainer.answered.keys() - listed.keys(), "what was answered is there"
        assert not listed.keys() - trainer.submitted, "and nothing that nobody asked for"
        weights: dict[tuple[str, int], Any] = {}
        for path, meta in listed.items():
            if path in known and not path.endswith("/newest"):
                continue
            found = store.read(path)
            step = meta.user_metadata["step"]
            assert step >= trainer.answered.get(path, 0), "replaced ones are what was answered, or newer"
            assert found.adapter_config["r"] == 1
            if meta.kind == "training":
                assert found.optimizer["step"].item() == step, "adapter and optimizer belong together"
            same = weights.setdefault((meta.path.split("/")[2], step), found.adapter)
            for name, values in found.adapter.items():
                np.testing.assert_array_equal(values, same[name])
        files = {path.parent for path in (folder / "checkpoints").rglob("*") if path.is_file()}
        assert len(files) == len(listed), "no leftovers"
        for request_id, result in trainer.futures.items():
            assert json.loads(store.find_future(request_id).body) == result, "finished futures can be read"
    return set(listed)


@pytest.mark.parametrize("seed", SEEDS)
def test_kills_at_random_moments_lose_nothing_that_was_answered(seed, tmp_path, forked, connect, bodies):
    chance = random.Random(seed)
    trainer, known, least = Trainer(), set(), 0
    for life in range(KILLS):
        least += live(forked.start(tmp_path), trainer, life, chance, connect, bodies)
        known = check(tmp_path, trainer, known)
    check(tmp_path, trainer, set())
    assert least > KILLS, "there was something to lose"
    assert len(trainer.futures) >= least
