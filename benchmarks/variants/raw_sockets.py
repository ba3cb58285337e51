"""Raw sockets: one thread, one epoll, a connection per sample in flight, JSON by msgspec both ways. The floor.

The least that a client can do which still builds each request from a list of tokens and gives lists of tokens and
logprobs: no retries, no timeouts, no bookkeeping, no HTTP beyond the one answer that the stub is known to give.
"""

from __future__ import annotations

import itertools
import select
import socket
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from benchmarks.measure import Meter
from benchmarks.variants.base import Job
from benchmarks.variants.wire import Chunk, Params, Promise, Prompt, Result, Retrieve, SampleRequest

_READ_SIZE = 1 << 18
_HEAD = (
    "POST /api/v1/%s HTTP/1.1\r\nHost: stub\r\nUser-Agent: {agent}\r\nContent-Type: application/json\r\n"
    "Accept: application/json\r\nContent-Length: "
)


class Line:
    """A connection and the sample on it."""

    __slots__ = ("accepted", "incoming", "number", "sock", "started")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.incoming = b""
        self.accepted = False
        self.number = 0
        self.started = 0.0


class Client:
    """Raw sockets, JSON both ways."""

    agent = "raw-sockets"

    def __init__(self, job: Job) -> None:
        self.job = job
        host, _, port = job.url.removeprefix("http://").partition(":")
        self._address = (host, int(port))
        head = _HEAD.format(agent=self.agent)
        self.submit_head = (head % "asample").encode()
        self.retrieve_head = (head % "retrieve_future").encode()
        self.seq_ids: Iterator[int] = itertools.count()
        self.encode = msgspec.json.Encoder().encode
        self.decode_promise = msgspec.json.Decoder(Promise).decode
        self._decode_result = msgspec.json.Decoder(Result).decode
        self.sampler = self._sampler(head)
        self._lines: list[Line] = []
        self._poll = select.epoll()

    def _sampler(self, head: str) -> str:
        line = Line(socket.create_connection(self._address))
        made: dict[str, Any] = {}
        for name, body in (("create_session", {"tags": []}), ("create_sampling_session", {"base_model": "stub"})):
            line.sock.sendall(message((head % name).encode(), self.encode({**body, **made})))
            answer = None
            while answer is None:
                answer = self._read(line)
            made = msgspec.json.decode(answer)
        line.sock.close()
        return str(made["sampling_session_id"])

    def submission(self, number: int) -> bytes:
        """Return a whole request for a sample."""
        job = self.job
        prompt = Prompt([Chunk(job.prompts[number % len(job.prompts)])])
        params = Params(job.workload.result_tokens)
        request = SampleRequest(self.sampler, next(self.seq_ids), job.workload.num_samples, prompt, params)
        return message(self.submit_head, self.encode(request))

    def retrieval(self, promise: bytes) -> bytes:
        """Return a whole request for the result that an answer to a submission promises."""
        return message(self.retrieve_head, self.encode(Retrieve(self.decode_promise(promise).request_id)))

    def judge(self, number: int, body: bytes, *, strict: bool) -> bool:
        """Decode a result and return whether it is right."""
        sequences = self._decode_result(body).sequences
        tokens = [sequence.tokens for sequence in sequences]
        if strict:
            return self.job.is_right(number, tokens, [sequence.logprobs for sequence in sequences])
        return self.job.reads_tokens(number, tokens)

    def wave(self, samples: int, meter: Meter | None) -> int:
        """See `base.Client`."""
        while len(self._lines) < self.job.in_flight:
            line = Line(socket.create_connection(self._address))
            line.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._poll.register(line.sock, select.EPOLLIN)
            self._lines.append(line)
        if meter is not None:
            meter.start()
        numbers, right, going = iter(range(samples)), 0, 0
        for line in self._lines:
            going += self._next(line, numbers)
        lines = {line.sock.fileno(): line for line in self._lines}
        while going:
            for fd, _ in self._poll.poll():
                line = lines[fd]
                body = self._read(line)
                if body is None:
                    continue
                if not line.accepted:
                    line.accepted = True
                    line.sock.sendall(self.retrieval(body))
                    continue
                if meter is not None:
                    self.job.note(line.started)
                    if line.number == samples // 2:
                        meter.midway()
                right += self.judge(line.number, body, strict=meter is None)
                going += self._next(line, numbers) - 1
        return right

    def _next(self, line: Line, numbers: Any) -> int:
        number = next(numbers, None)
        if number is None:
            return 0
        line.accepted, line.number, line.started = False, number, time.perf_counter()
        line.sock.sendall(self.submission(number))
        return 1

    @staticmethod
    def _read(line: Line) -> bytes | None:
        """Read what there is and return the body when it is all there."""
        data = line.sock.recv(_READ_SIZE)
        if not data:
            raise ConnectionError("the stub hung up")
        line.incoming = data = line.incoming + data
        end = data.find(b"\r\n\r\n") + 4
        if end < 4:
            return None
        start = data.find(b"Content-Length: ") + 16
        if len(data) < end + int(data[start : data.find(b"\r\n", start)]):
            return None
        if not data.startswith(b"HTTP/1.1 200 "):
            raise ConnectionError(f"the stub said {data[:200]!r}")
        line.incoming = b""
        return data[end:]

    def describe(self) -> dict[str, Any]:
        """See `base.Client`."""
        kind = type(self)
        return {
            "client": f"{kind.__module__}.{kind.__qualname__}",
            "version": "",
            "transport": "sockets and epoll",
            "driver": "one thread, a connection per sample in flight",
        }

    def close(self) -> None:
        """See `base.Client`."""
        for line in self._lines:
            line.sock.close()
        self._poll.close()


def message(head: bytes, body: bytes) -> bytes:
    """Return a whole HTTP request."""
    return b"%s%d\r\n\r\n%s" % (head, len(body), body)
