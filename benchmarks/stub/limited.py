"""The service with limits: it computes nothing either, but has a capacity, takes its time and can misbehave.

Unlike the one that costs are measured against, it works on a limited number of samples at a time, trains, and notes
when requests arrived, on the clock that all processes of a machine share. Counts are at `/stub/stats`.
"""

from __future__ import annotations

import resource
import time
from collections import Counter
from typing import Any

import msgspec

from benchmarks.stub.capacity_queue import CapacityQueue
from benchmarks.stub.exchanges import Exchange
from benchmarks.stub.faults import Faults
from benchmarks.stub.sampling_desk import SamplingDesk
from benchmarks.stub.server import Connection, Server
from benchmarks.stub.timers import Timers
from benchmarks.stub.training_desk import TrainingDesk

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


class LimitedService:
    """Routes, sessions, counts.

    Attributes:
        server: what serves it; to be set before it does.
        pending: what is done later.
    """

    server: Server

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.pending = Timers()
        self._sampling = SamplingDesk(
            lambda begin: CapacityQueue(settings.places, settings.waiting, begin),
            ms_per_token=settings.ms_per_token,
            jitter=settings.jitter,
            result_tokens=settings.result_tokens,
            hold=settings.hold,
            seed=settings.seed,
            timers=self.pending,
        )
        self._training = TrainingDesk(settings.train_ms / 1000, self.pending)
        self._faults = Faults(settings.faults, settings.seed)
        self._made: Counter[str] = Counter()
        self._requests: Counter[str] = Counter()
        self._injected: Counter[str] = Counter()
        self._agents: Counter[str] = Counter()
        self._arrivals: list[tuple[str, float]] = []
        self._most_connections = 0

    def opened(self, now: int) -> None:
        """See `server.Service`."""
        self._most_connections = max(self._most_connections, now)

    def greet(self, agent: str) -> None:
        """See `server.Service`; sessions tell who is there."""

    def gone(self, connection: Connection) -> None:
        """See `server.Service`; whose connection is gone gets no answer."""

    def answer(self, connection: Connection, path: bytes, head: bytes, body: bytes) -> None:
        """See `server.Service`."""
        self._answer(Exchange(self.server, self.pending, connection, path, head, body))

    def _answer(self, exchange: Exchange) -> None:
        name = exchange.path.removeprefix(_API)
        if name == "/stub/stats":
            exchange.reply(msgspec.json.encode(self._stats()))
            return
        self._requests[name] += 1
        if name in _NOTED and len(self._arrivals) < _MOST_NOTED:
            self._arrivals.append((name, time.monotonic()))
        fault = self._faults.draw(name)
        if fault is not None:
            self._injected[f"{name}: {fault}"] += 1
            if self._misbehave(exchange, fault):
                return
        if name == "asample":
            self._sampling.take(exchange)
        elif name == "retrieve_futures":
            self._sampling.retrieve_many(exchange)
        elif name == "retrieve_future":
            if self._training.knows(exchange.body):
                self._training.retrieve(exchange)
            else:
                self._sampling.retrieve(exchange, gone=fault == "gone")
        elif name in ("forward_backward", "forward"):
            self._training.forward_backward(exchange)
        elif name == "optim_step":
            self._training.optim_step(exchange)
        else:
            self._control(exchange, name)

    def _misbehave(self, exchange: Exchange, fault: str) -> bool:
        """Carry a fault out and return True, or spoil the answer to come and return False."""
        if fault == "unavailable":
            exchange.reply(b'{"detail":"injected"}', 503)
        elif fault == "throttle":
            exchange.reply(b'{"detail":"injected"}', 429)
        elif fault == "drop unheard":
            exchange.drop()
        else:
            if fault in ("drop", "cut", "slow"):
                exchange.spoiled = fault  # type: ignore[assignment]
            return False
        return True

    def _control(self, exchange: Exchange, name: str) -> None:
        made: dict[str, Any]
        if name == "create_session":
            self._agents[exchange.header("user-agent")] += 1
            self._made["session"] += 1
            made = {"type": name, "session_id": f"s{self._made['session']}"}
        elif name == "create_sampling_session":
            self._made["sampler"] += 1
            made = {"type": name, "sampling_session_id": f"s1:sample:{self._made['sampler']}"}
        elif name == "create_model":
            self._made["model"] += 1
            self._training.create_model(exchange, f"s1:train:{self._made['model'] - 1}")
            return
        elif name == "get_info":
            data = {"arch": "stub", "model_name": "stub", "tokenizer_id": "stub"}
            model_id = msgspec.json.decode(exchange.body)["model_id"]
            exchange.reply(
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
            exchange.reply(b'{"detail":"the stub has no such endpoint"}', 404)
            return
        exchange.reply(msgspec.json.encode(made))

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
