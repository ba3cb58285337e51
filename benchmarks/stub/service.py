"""The service with prepared answers: which request gets which, and what is counted and checked on the way."""

from __future__ import annotations

import resource
from collections import Counter
from typing import Any

import msgspec

from benchmarks.stub.futures import Futures
from benchmarks.stub.results import reply, sample_result
from benchmarks.workloads import Workload, answers

_API = b"/api/v1/"
_CLONES = 1_000_000_000
_OK = reply(b"{}")
_FIXED = {
    "create_session": reply(b'{"type":"create_session","session_id":"stub"}'),
    "session_heartbeat": reply(b'{"type":"session_heartbeat"}'),
    "telemetry": reply(b'{"status":"accepted"}'),
    "client/dynamic_config": _OK,
    "cancel_future": _OK,
    "get_server_capabilities": reply(b'{"supported_models":[{"model_name":"stub"}]}'),
}


class _Chunk(msgspec.Struct):
    tokens: msgspec.Raw


class _Prompt(msgspec.Struct):
    chunks: list[_Chunk]


class _Params(msgspec.Struct):
    max_tokens: int | None = None


class _Sample(msgspec.Struct):
    prompt: _Prompt
    sampling_params: _Params
    sampling_session_id: str
    seq_id: int
    num_samples: int = 1


_decode_sample = msgspec.json.Decoder(_Sample).decode


class PreparedService:
    """What the stub knows: sessions, futures, counts. Gives bytes, or None for an answer that comes later.

    Args:
        workload: the samples to expect, and the results to give.
        hold: seconds from a sample's submission to its result.
        retrieve_futures: offer completions, and say so in `client/config`.
    """

    def __init__(self, workload: Workload, hold: float, *, retrieve_futures: bool = False) -> None:
        self._workload = workload
        self._results = [sample_result(answer) for answer in answers(workload)]
        self.futures = self.pending = Futures(hold, channels=retrieve_futures)
        self.gone = self.futures.gone
        config = {"sample_use_retrieve_futures": retrieve_futures, "use_pyqwest_transport": True}
        self._config = reply(msgspec.json.encode(config))
        self._numbers: dict[tuple[str, int], int] = {}
        self._samplers = 0
        self.requests: Counter[str] = Counter()
        self.agents: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.connections = 0
        self.most_connections = 0

    def answer(self, connection: Any, path: bytes, head: bytes, body: bytes) -> bytes | None:
        """Answer one request; None holds it, and `futures.due` answers it in its time."""
        if path == b"/api/v1/retrieve_future":
            self.requests["retrieve_future"] += 1
            try:
                return self.futures.retrieve(connection, head, body)
            except LookupError:
                return self._fault("unknown future", b"410 Gone")
        if path == b"/api/v1/asample":
            self.requests["asample"] += 1
            return self._sample(body)
        if path == b"/api/v1/retrieve_futures":
            self.requests["retrieve_futures"] += 1
            try:
                return self.futures.retrieve_many(connection, body)
            except LookupError:
                return self._fault("retrieve_futures refused", b"404 Not Found")
        if path == b"/stub/stats":
            return reply(msgspec.json.encode(self.stats()))
        name = path.removeprefix(_API).decode("ascii", "replace")
        self.requests[name] += 1
        return self._control(name)

    def greet(self, agent: str) -> None:
        """Count a connection whose first request to the API had this user agent."""
        self.agents[agent] += 1

    def opened(self, now: int) -> None:
        """Count a connection; `now` is how many are open."""
        self.connections += 1
        self.most_connections = max(self.most_connections, now)

    def _sample(self, body: bytes) -> bytes:
        try:
            request = _decode_sample(body)
        except msgspec.MsgspecError as error:
            return self._fault("malformed asample", b"422 Unprocessable Entity", str(error))
        # Counting commas is a tenth of the work of building the list, which nobody would look at.
        tokens = bytes(request.prompt.chunks[0].tokens)
        workload = self._workload
        asked = (tokens.count(b",") + 1, request.sampling_params.max_tokens, request.num_samples)
        if asked != (workload.prompt_tokens, workload.result_tokens, workload.num_samples):
            self.faults["sample of another size"] += 1
        key = (request.sampling_session_id, request.seq_id)
        number = self._numbers.get(key)
        if number is None:
            first = int(tokens[1 : tokens.find(b",")])
            number = self._numbers[key] = self.futures.promise(self._results[first % len(self._results)])
            self.futures.announce(number, request.sampling_session_id, request.seq_id // _CLONES)
        else:
            self.faults["asample resent"] += 1
        names = b",".join([b'"%d-%d"' % (number, index) for index in range(request.num_samples)])
        return reply(b'{"request_id":"%d","sample_sequence_ids":[%s]}' % (number, names))

    def _control(self, name: str) -> bytes:
        fixed = _FIXED.get(name)
        if fixed is not None:
            return fixed
        if name == "client/config":
            return self._config
        if name == "create_sampling_session":
            self._samplers += 1
            made = b'{"type":"create_sampling_session","sampling_session_id":"stub:sample:%d"}'
            return reply(made % self._samplers)
        if name.startswith("samplers/"):
            named = {"sampler_id": name.removeprefix("samplers/"), "base_model": "stub", "model_path": None}
            return reply(msgspec.json.encode(named))
        if name.endswith("/finish"):
            return _OK
        return self._fault(f"unknown path {name}", b"404 Not Found")

    def _fault(self, what: str, status: bytes, detail: str = "") -> bytes:
        self.faults[what] += 1
        return reply(msgspec.json.encode({"detail": detail or what}), status)

    def stats(self) -> dict[str, object]:
        """Return the counts so far, and the CPU seconds of this process."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "requests": self.requests,
            "user_agents": self.agents,
            "faults": self.faults,
            "connections": self.connections,
            "most_connections": self.most_connections,
            "most_held": self.futures.most_held,
            "results": {"protobuf": self.futures.protobuf, "json": self.futures.json},
        }
