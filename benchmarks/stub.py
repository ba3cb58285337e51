"""The stub server: answers the sampling wire in JSON and makes nothing up but the answer's delay.

One thread, one epoll and a parser that knows just what clients of a benchmark send, so that the client is what is
measured. It still counts and checks: how many samples of the right size came in, on how many connections, from
whom. It runs until its standard input closes, so that it can't outlive whoever started it.

    python -m benchmarks.stub --workload S --hold-ms 50
"""

from __future__ import annotations

import argparse
import heapq
import math
import os
import resource
import select
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable

import msgspec

from benchmarks.workloads import WORKLOADS, Workload, answer_json, answers

_API = b"/api/v1/"
_READ_SIZE = 1 << 18
_BACKLOG = 4_096


class _Chunk(msgspec.Struct):
    tokens: list[int]


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


class _Retrieve(msgspec.Struct):
    request_id: str


_decode_sample = msgspec.json.Decoder(_Sample).decode
_decode_retrieve = msgspec.json.Decoder(_Retrieve).decode


def reply(body: bytes, status: bytes = b"200 OK") -> bytes:
    """Return a whole HTTP answer with a JSON body."""
    head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
    return head + body


class Service:
    """What the stub knows: sessions, futures, counts. Gives bytes, or None for an answer that comes later."""

    def __init__(self, workload: Workload, hold: float) -> None:
        self._workload = workload
        self._hold = hold
        self._results = [reply(answer_json(answer)) for answer in answers(workload)]
        self._futures: list[tuple[float, int]] = []
        self._numbers: dict[tuple[str, int], int] = {}
        self._samplers = 0
        self._timers: list[tuple[float, int, Connection]] = []
        self._order = 0
        self.requests: Counter[str] = Counter()
        self.agents: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.connections = 0
        self.most_connections = 0
        self.most_held = 0

    def answer(self, connection: Connection, path: bytes, head: bytes, body: bytes) -> bytes | None:
        """Answer one request; None holds it, and `due` answers it in its time."""
        if path == b"/api/v1/retrieve_future":
            self.requests["retrieve_future"] += 1
            return self._retrieve(connection, body)
        if path == b"/api/v1/asample":
            self.requests["asample"] += 1
            return self._sample(head, body)
        if path == b"/stub/stats":
            return reply(msgspec.json.encode(self.stats()))
        name = path.removeprefix(_API).decode("ascii", "replace")
        self.requests[name] += 1
        return self._control(name)

    def _sample(self, head: bytes, body: bytes) -> bytes:
        try:
            request = _decode_sample(body)
        except msgspec.MsgspecError as error:
            self.faults["malformed asample"] += 1
            return reply(msgspec.json.encode({"detail": str(error)}), b"422 Unprocessable Entity")
        tokens = request.prompt.chunks[0].tokens
        workload = self._workload
        asked = (len(tokens), request.sampling_params.max_tokens, request.num_samples)
        if asked != (workload.prompt_tokens, workload.result_tokens, workload.num_samples):
            self.faults["sample of another size"] += 1
        self.agents[_header(head, b"user-agent")] += 1
        key = (request.sampling_session_id, request.seq_id)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._futures)
            self._futures.append((time.monotonic() + self._hold, tokens[0] % len(self._results)))
        else:
            self.faults["asample resent"] += 1
        names = b",".join(b'"%d-%d"' % (number, index) for index in range(request.num_samples))
        return reply(b'{"request_id":"%d","sample_sequence_ids":[%s]}' % (number, names))

    def _retrieve(self, connection: Connection, body: bytes) -> bytes | None:
        try:
            number = int(_decode_retrieve(body).request_id)
            due, variant = self._futures[number]
        except (msgspec.MsgspecError, ValueError, IndexError):
            self.faults["unknown future"] += 1
            return reply(b'{"detail":"no such future"}', b"410 Gone")
        if time.monotonic() >= due:
            return self._results[variant]
        self._order += 1
        heapq.heappush(self._timers, (due, self._order, connection))
        connection.held = variant
        self.most_held = max(self.most_held, len(self._timers))
        return None

    def _control(self, name: str) -> bytes:
        if name == "create_session":
            return reply(b'{"type":"create_session","session_id":"stub"}')
        if name == "session_heartbeat":
            return reply(b'{"type":"session_heartbeat"}')
        if name == "create_sampling_session":
            self._samplers += 1
            made = b'{"type":"create_sampling_session","sampling_session_id":"stub:sample:%d"}'
            return reply(made % self._samplers)
        if name in ("client/config", "client/dynamic_config", "cancel_future") or name.endswith("/finish"):
            return reply(b"{}")
        if name == "telemetry":
            return reply(b'{"status":"accepted"}')
        self.faults[f"unknown path {name}"] += 1
        return reply(b'{"detail":"the stub has no such endpoint"}', b"404 Not Found")

    def wait(self) -> float:
        """Return the seconds until the next held request is due; -1 when there is none."""
        return -1.0 if not self._timers else max(0.0, self._timers[0][0] - time.monotonic())

    def due(self, answer: Callable[[Connection, bytes], None]) -> None:
        """Answer the held requests whose time has come."""
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            _, _, connection = heapq.heappop(self._timers)
            answer(connection, self._results[connection.held])

    def stats(self) -> dict[str, object]:
        """Return the counts so far, and the CPU seconds of this process."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "requests": self.requests,
            "user_agents": self.agents,
            "faults": self.faults,
            "most_connections": self.most_connections,
            "most_held": self.most_held,
        }


class Connection:
    """A client's socket: what has come in and is not a whole request yet, what has not gone out yet."""

    __slots__ = ("held", "incoming", "outgoing", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.incoming = b""
        self.outgoing = b""
        self.held = 0


class Server:
    """Moves bytes between sockets and the service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._poll = select.epoll()
        self._poll.register(self._listener, select.EPOLLIN)
        self._connections: dict[int, Connection] = {}

    def run(self, lifeline: int) -> None:
        """Serve until the descriptor `lifeline` reaches its end."""
        self._poll.register(lifeline, select.EPOLLIN | select.EPOLLHUP)
        listener, service, connections = self._listener.fileno(), self._service, self._connections
        while True:
            wait = service.wait()
            # epoll counts milliseconds: rounded up, since a result must not come early.
            for fd, events in self._poll.poll(wait if wait < 0 else math.ceil(wait * 1000) / 1000):
                connection = connections.get(fd)
                if connection is not None:
                    if events & select.EPOLLOUT:
                        self._flush(connection)
                    if events & ~select.EPOLLOUT:
                        self._read(connection)
                elif fd == listener:
                    self._accept()
                elif fd == lifeline:
                    return
            service.due(self._send)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections[sock.fileno()] = Connection(sock)
            self._poll.register(sock, select.EPOLLIN)
            self._service.connections += 1
            self._service.most_connections = max(self._service.most_connections, len(self._connections))

    def _read(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(_READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(connection)
            return
        connection.incoming = data = connection.incoming + data if connection.incoming else data
        while data:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                break
            head = data[:end]
            body_ends = end + 4 + int(_header(head, b"content-length") or 0)
            if len(data) < body_ends:
                break
            answer = self._service.answer(connection, head.split(b" ", 2)[1], head, data[end + 4 : body_ends])
            connection.incoming = data = data[body_ends:]
            if answer is not None:
                self._send(connection, answer)

    def _send(self, connection: Connection, data: bytes) -> None:
        if connection.sock.fileno() < 0:
            return  # the client hung up while its request was held
        try:
            sent = 0 if connection.outgoing else connection.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close(connection)
            return
        if sent < len(data):
            connection.outgoing += data[sent:]
            self._poll.modify(connection.sock, select.EPOLLIN | select.EPOLLOUT)

    def _flush(self, connection: Connection) -> None:
        data, connection.outgoing = connection.outgoing, b""
        self._poll.modify(connection.sock, select.EPOLLIN)
        if data:
            self._send(connection, data)

    def _close(self, connection: Connection) -> None:
        fd = connection.sock.fileno()
        if fd >= 0:
            self._poll.unregister(fd)
            del self._connections[fd]
            connection.sock.close()


def _header(head: bytes, name: bytes) -> str:
    lowered = head.lower()
    start = lowered.find(b"\r\n" + name + b":")
    if start < 0:
        return ""
    start += len(name) + 3
    end = head.find(b"\r\n", start)
    return head[start : len(head) if end < 0 else end].strip().decode("latin-1")


def main() -> None:
    """Serve on a free loopback port, whose number is the first line of standard output."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workload", choices=WORKLOADS, default="S")
    parser.add_argument("--hold-ms", type=float, default=50.0)
    parser.add_argument("--cores", type=int, nargs="+", help="the processors to run on")
    arguments = parser.parse_args()
    if arguments.cores:
        os.sched_setaffinity(0, arguments.cores)
    server = Server(Service(WORKLOADS[arguments.workload], arguments.hold_ms / 1000))
    print(server.port, flush=True)
    server.run(sys.stdin.fileno())


if __name__ == "__main__":
    main()
