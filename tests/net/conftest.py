"""Lanes and servers for the socket tests: real threads, real sockets, no fixed waits."""

from __future__ import annotations

import contextlib
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme

from tinker_actors.net.http_transport import HttpTransport
from tinker_actors.net.target import Target
from tinker_actors.net.transport import Answer, Broken, Reply, Request
from tinker_actors.runtime.clock import MonotonicClock
from tinker_actors.runtime.selector_inbox import SelectorInbox

HANG = 30.0


class Answered:
    """Collects the answers of one request."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.threads: list[int] = []
        self.arrived = threading.Event()
        self.ticket: Any = None

    def __call__(self, answer: Answer) -> None:
        self.answers.append(answer)
        self.threads.append(threading.get_ident())
        self.arrived.set()

    def get(self) -> Answer:
        assert self.arrived.wait(HANG), "no answer came"
        assert len(self.answers) == 1
        return self.answers[0]

    def reply(self) -> Reply:
        answer = self.get()
        assert isinstance(answer, Reply), answer
        return answer

    def broken(self) -> Broken:
        answer = self.get()
        assert isinstance(answer, Broken), answer
        return answer


class Lane:
    """A thread that lives on a `SelectorInbox`, as a lane actor would."""

    def __init__(self) -> None:
        self.clock = MonotonicClock()
        self.inbox = SelectorInbox(self.clock)
        self.messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.on_message: Callable[[Any], None] = self.messages.put
        self.transports: list[HttpTransport] = []
        self._end = object()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while (message := self.inbox.get()) is not self._end:
            self.on_message(message)

    def call(self, function: Callable[[], Any]) -> Any:
        """Run a function in the lane's thread and return its result."""
        results: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

        def run() -> None:
            try:
                results.put((function(), None))
            except Exception as error:
                results.put((None, error))

        self.inbox.post(run)
        result, error = results.get(timeout=HANG)
        if error is not None:
            raise error
        return result

    def transport(self, target: Target, base_path: str = "", **options: Any) -> HttpTransport:
        made = HttpTransport(self.inbox, self.clock, target, base_path, **options)
        self.transports.append(made)
        return made

    def send(self, transport: HttpTransport, request: Request) -> Answered:
        answered = Answered()

        def send() -> None:
            answered.ticket = transport.send(request, answered)
            assert not answered.answers, "answered inside send()"

        self.call(send)
        return answered

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition, evaluated in the lane's thread, holds."""
        poll = threading.Event()
        for _ in range(int(HANG / 0.005)):
            if self.call(condition):
                return
            poll.wait(0.005)
        raise AssertionError("the condition never came true")

    def end(self) -> None:
        if self.thread.is_alive():
            for transport in self.transports:
                self.call(transport.close)
            self.inbox.put(self._end)
            self.thread.join(HANG)
        assert not self.thread.is_alive()
        self.inbox.close()


class Server:
    """Accepts connections and runs `handler(server, connection)` in a thread for each."""

    def __init__(
        self,
        handler: Callable[[Server, socket.socket], None],
        tls: ssl.SSLContext | None = None,
        receive_buffer: int | None = None,
    ) -> None:
        self.handler = handler
        self.tls = tls
        self.connections = 0
        self.requests: list[tuple[bytes, bytes]] = []
        self.errors: list[BaseException] = []
        self.stopping = threading.Event()
        self._listener = socket.socket()
        if receive_buffer is not None:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(128)
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def target(self, **options: Any) -> Target:
        if self.tls is not None:
            options.setdefault("scheme", "https")
        return Target(**{"scheme": "http", "host": "127.0.0.1", "port": self.port, **options})

    def read_request(self, connection: socket.socket) -> bytes | None:
        """Read one request and return its head, or None at the end of the connection."""
        data = b""
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                return None
            data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        body = bytearray(rest)
        while len(body) < length:
            body += connection.recv(65536) or b"" * length
        self.requests.append((head, bytes(body)))
        return head

    def echo_path(self, connection: socket.socket) -> None:
        """Answer every request with its path."""
        while (head := self.read_request(connection)) is not None:
            path = head.split(b" ")[1]
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(path), path))

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            thread = threading.Thread(target=self._handle, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _handle(self, connection: socket.socket) -> None:
        try:
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            self.handler(self, connection)
        except OSError:
            pass  # the client hung up, which many tests want
        except BaseException as error:
            self.errors.append(error)
        finally:
            connection.close()

    def end(self) -> None:
        self.stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(HANG)
            assert not thread.is_alive()
        for connection in self._open:
            connection.close()
        assert not self.errors


@pytest.fixture
def lane() -> Iterator[Lane]:
    made = Lane()
    yield made
    made.end()


@pytest.fixture
def serve(lane: Lane) -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(handler: Callable[[Server, socket.socket], None] = Server.echo_path, **options: Any) -> Server:
        servers.append(Server(handler, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.end()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(params=["plain", "tls"])
def start(
    request: pytest.FixtureRequest,
    serve: Callable[..., Server],
    lane: Lane,
    server_tls: ssl.SSLContext,
    client_tls: ssl.SSLContext,
) -> Callable[..., tuple[Server, HttpTransport]]:
    """Start a server and return it with a transport to it, once over plain TCP and once over TLS."""

    def both(
        handler: Callable[[Server, socket.socket], None] = Server.echo_path,
        receive_buffer: int | None = None,
        **options: Any,
    ) -> tuple[Server, HttpTransport]:
        tls = server_tls if request.param == "tls" else None
        server = serve(handler, tls=tls, receive_buffer=receive_buffer)
        return server, lane.transport(server.target(ssl_context=client_tls), **options)

    return both


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.fixture
def inbox():
    made = SelectorInbox()
    yield made
    made.close()
