"""The stub server: a Tinker service that computes nothing, but has a capacity, takes its time and can misbehave.

Unlike the one that costs are measured against, it works on a limited number of samples at a time, trains, and notes
when requests arrived, on the clock that all processes of a machine share. Counts are at `/stub/stats`.

    python -m benchmarks.behaviour.stub '{"places": 64, "waiting": 16}'
"""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import sys
import time
from collections import Counter
from typing import Any

import msgspec

from benchmarks.behaviour.capacity_queue import CapacityQueue
from benchmarks.behaviour.faults import Faults
from benchmarks.behaviour.sampling_desk import SamplingDesk
from benchmarks.behaviour.serving import Connection, Request, serve
from benchmarks.behaviour.training_desk import TrainingDesk

_API = "/api/v1/"
_NOTED = ("session_heartbeat", "forward_backward", "forward", "optim_step")
_MOST_NOTED = 10_000


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the stub is like.

    Attributes:
        places: samples worked on at a time; None for any number.
        waiting: samples that may wait for a place; more are refused with 429, without Retry-After.
        ms_per_token: how long a sample takes, per token of `max_tokens`.
        jitter: the share by which that varies to both sides.
        result_tokens: tokens in each result, whatever was asked for.
        train_ms: how long an operation of training takes.
        hold: seconds that a request for a result is held at most.
        retrieve_futures: say in `client/config` that finished samples can be heard of over one connection.
        faults: share of the requests around samples that something goes wrong with.
        seed: of jitter and faults.
        cores: the processors to run on; None for all.
    """

    places: int | None = None
    waiting: int = 0
    ms_per_token: float = 1.0
    jitter: float = 0.2
    result_tokens: int = 16
    train_ms: float = 50.0
    hold: float = 20.0
    retrieve_futures: bool = False
    faults: float = 0.0
    seed: int = 0
    cores: list[int] | None = None


class Stub:
    """The service: routes, sessions, counts."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sampling = SamplingDesk(
            lambda begin: CapacityQueue(settings.places, settings.waiting, begin),
            ms_per_token=settings.ms_per_token,
            jitter=settings.jitter,
            result_tokens=settings.result_tokens,
            hold=settings.hold,
            seed=settings.seed,
        )
        self._training = TrainingDesk(settings.train_ms / 1000)
        self._faults = Faults(settings.faults, settings.seed)
        self._made: Counter[str] = Counter()
        self._requests: Counter[str] = Counter()
        self._injected: Counter[str] = Counter()
        self._agents: Counter[str] = Counter()
        self._arrivals: list[tuple[str, float]] = []
        self._connections = 0
        self._most_connections = 0

    def opened(self, change: int) -> None:
        """See `serving.Answering`."""
        self._connections += change
        self._most_connections = max(self._most_connections, self._connections)

    def answer(self, connection: Connection, request: Request) -> None:
        """See `serving.Answering`."""
        name = request.path.removeprefix(_API)
        if name == "/stub/stats":
            connection.reply(msgspec.json.encode(self._stats()))
            return
        self._requests[name] += 1
        if name in _NOTED and len(self._arrivals) < _MOST_NOTED:
            self._arrivals.append((name, time.monotonic()))
        fault = self._faults.draw(name)
        if fault is not None:
            self._injected[f"{name}: {fault}"] += 1
            if self._misbehave(connection, fault):
                return
        if name == "asample":
            self._sampling.take(connection, request)
        elif name == "retrieve_futures":
            self._sampling.retrieve_many(connection, request)
        elif name == "retrieve_future":
            if self._training.knows(request.body):
                self._training.retrieve(connection, request)
            else:
                self._sampling.retrieve(connection, request, gone=fault == "gone")
        elif name in ("forward_backward", "forward"):
            self._training.forward_backward(connection, request)
        elif name == "optim_step":
            self._training.optim_step(connection)
        else:
            self._control(connection, request, name)

    def _misbehave(self, connection: Connection, fault: str) -> bool:
        """Carry a fault out and return True, or spoil the answer to come and return False."""
        if fault == "unavailable":
            connection.reply(b'{"detail":"injected"}', 503)
        elif fault == "throttle":
            connection.reply(b'{"detail":"injected"}', 429)
        elif fault == "drop unheard":
            connection.drop()
        else:
            if fault in ("drop", "cut", "slow"):
                connection.spoiled = fault  # type: ignore[assignment]
            return False
        return True

    def _control(self, connection: Connection, request: Request, name: str) -> None:
        made: dict[str, Any]
        if name == "create_session":
            self._agents[request.header("user-agent")] += 1
            self._made["session"] += 1
            made = {"type": name, "session_id": f"s{self._made['session']}"}
        elif name == "create_sampling_session":
            self._made["sampler"] += 1
            made = {"type": name, "sampling_session_id": f"s1:sample:{self._made['sampler']}"}
        elif name == "create_model":
            self._made["model"] += 1
            self._training.create_model(connection, f"s1:train:{self._made['model'] - 1}")
            return
        elif name == "get_info":
            data = {"arch": "stub", "model_name": "stub", "tokenizer_id": "stub"}
            model_id = msgspec.json.decode(request.body)["model_id"]
            connection.reply(
                msgspec.json.encode(
                    {"type": name, "model_id": model_id, "model_data": data, "is_lora": True, "lora_rank": 32}
                )
            )
            return
        elif name == "client/config":
            made = {"sample_use_retrieve_futures": True} if self._settings.retrieve_futures else {}
        elif name == "telemetry":
            made = {"status": "accepted"}
        elif name in ("session_heartbeat", "client/dynamic_config", "cancel_future") or name.endswith("/finish"):
            made = {"type": name} if name == "session_heartbeat" else {}
        else:
            self._requests["unknown path"] += 1
            connection.reply(b'{"detail":"the stub has no such endpoint"}', 404)
            return
        connection.reply(msgspec.json.encode(made))

    def _stats(self) -> dict[str, object]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "now": time.monotonic(),
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "requests": self._requests,
            "injected": self._injected,
            "user_agents": self._agents,
            "samples": self._sampling.counts,
            "most": self._sampling.most,
            "training": self._training.counts,
            "arrivals": self._arrivals,
            "most_connections": self._most_connections,
        }


def main() -> None:
    """Serve with the settings that are the only argument."""
    settings = msgspec.json.decode(sys.argv[1], type=Settings)
    if settings.cores:
        os.sched_setaffinity(0, settings.cores)
    gc.disable()  # a collection beside thousands of held requests would keep every client waiting for 100 ms
    asyncio.run(serve(Stub(settings)))


if __name__ == "__main__":
    main()
