"""Sockets: one epoll that moves bytes between connections and the service, in the clear or through TLS."""

from __future__ import annotations

import contextlib
import math
import select
import socket
import ssl
from collections.abc import Callable
from typing import Protocol

_READ_SIZE = 1 << 18
_BACKLOG = 4_096
_ACCEPTED_AT_A_TIME = 8
_TRY_LATER = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Connection:
    """A client's socket: what has come in and is not a whole request yet, what has not gone out yet."""

    __slots__ = ("greeted", "held", "incoming", "outgoing", "shaken", "sock", "wanted")

    def __init__(self, sock: socket.socket, *, shaken: bool) -> None:
        self.sock = sock
        self.shaken = shaken
        self.greeted = False
        self.held = False
        self.incoming = bytearray()
        self.wanted = 0
        self.outgoing = b""


class Pending(Protocol):
    """What is to be done later."""

    def wait(self) -> float:
        """Return the seconds until something is due; -1 when nothing is."""
        ...

    def due(self, send: Callable[[Connection, bytes], None], /) -> None:
        """Do what is due."""
        ...


class Service(Protocol):
    """What gives the answers."""

    @property
    def pending(self) -> Pending:
        """What it does later."""
        ...

    def answer(self, connection: Connection, path: bytes, head: bytes, body: bytes) -> bytes | None:
        """Return the answer to a request; None if it comes later."""
        ...

    def greet(self, agent: str) -> None:
        """Hear of the user agent of a connection's first request."""
        ...

    def opened(self, now: int) -> None:
        """Hear that there is a connection more; `now` is how many are open."""
        ...

    def gone(self, connection: Connection) -> None:
        """Hear that a connection is closed."""
        ...


class Server:
    """Serves one service on a free loopback port.

    Args:
        service: gives the answers.
        tls: certificate and key files; with them every connection is TLS 1.3.
    """

    def __init__(self, service: Service, tls: tuple[str, str] | None = None) -> None:
        self._service = service
        self._context = None if tls is None else _context(*tls)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._poll = select.epoll()
        self._poll.register(self._listener, select.EPOLLIN)
        self._connections: dict[int, Connection] = {}

    def run(self, lifeline: int) -> None:
        """Serve until the descriptor `lifeline` reaches its end."""
        self._poll.register(lifeline, select.EPOLLIN | select.EPOLLHUP)
        listener, pending, connections = self._listener.fileno(), self._service.pending, self._connections
        while True:
            wait = pending.wait()
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
            pending.due(self.send)

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_A_TIME):  # who is connected already waits meanwhile
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                sock = self._context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            self._connections[sock.fileno()] = Connection(sock, shaken=self._context is None)
            self._poll.register(sock, select.EPOLLIN)
            self._service.opened(len(self._connections))

    def _read(self, connection: Connection) -> None:
        if not (connection.shaken or self._shake(connection)):
            return
        while True:
            try:
                data = connection.sock.recv(_READ_SIZE)
            except _TRY_LATER:
                return
            except OSError:
                data = b""
            if not data:
                self.close(connection)
                return
            self._take(connection, data)
            # The socket's own readiness doesn't tell of what TLS has decrypted already.
            if self._context is None or connection.sock.fileno() < 0:
                return

    def _shake(self, connection: Connection) -> bool:
        assert isinstance(connection.sock, ssl.SSLSocket)
        try:
            connection.sock.do_handshake()
        except _TRY_LATER:
            return False
        except OSError:
            self.close(connection)
            return False
        connection.shaken = True
        return True

    def _take(self, connection: Connection, data: bytes) -> None:
        """Answer all requests that are whole now."""
        if connection.incoming:
            connection.incoming += data
            if len(connection.incoming) < connection.wanted:
                return
            data, connection.incoming = bytes(connection.incoming), bytearray()
        while data:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                connection.wanted = 0
                break
            head = data[:end]
            body_ends = end + 4 + _content_length(head)
            if len(data) < body_ends:
                connection.wanted = body_ends
                break
            path = head[head.find(b" ") + 1 : head.find(b" HTTP/1.1\r\n")]
            if not connection.greeted and path.startswith(b"/api/"):
                connection.greeted = True
                self._service.greet(header(head, b"user-agent"))
            answer = self._service.answer(connection, path, head, data[end + 4 : body_ends])
            data = data[body_ends:]
            if answer is not None:
                self.send(connection, answer)
        connection.incoming += data

    def send(self, connection: Connection, data: bytes) -> None:
        """Send bytes as soon as the client takes them."""
        if connection.sock.fileno() < 0:
            return  # the client hung up while its request was held
        if connection.outgoing:
            connection.outgoing += data
            return
        try:
            sent = connection.sock.send(data)
        except _TRY_LATER:
            sent = 0
        except OSError:
            self.close(connection)
            return
        if sent < len(data):
            connection.outgoing = data[sent:]
            self._poll.modify(connection.sock, select.EPOLLIN | select.EPOLLOUT)

    def _flush(self, connection: Connection) -> None:
        data, connection.outgoing = connection.outgoing, b""
        self._poll.modify(connection.sock, select.EPOLLIN)
        if data:
            self.send(connection, data)

    def close(self, connection: Connection) -> None:
        """Close a connection, if it is open."""
        fd = connection.sock.fileno()
        if fd >= 0:
            with contextlib.suppress(OSError):
                self._poll.unregister(fd)
            del self._connections[fd]
            self._service.gone(connection)
            connection.sock.close()


def _context(certificate: str, key: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate, key)
    return context


def _content_length(head: bytes) -> int:
    """Return the body's length; the two ways of writing the header's name that clients use are looked for first."""
    start = head.find(b"\r\nContent-Length: ")
    if start < 0:
        start = head.find(b"\r\ncontent-length: ")
    if start < 0:
        return int(header(head, b"content-length") or 0)
    end = head.find(b"\r\n", start + 18)
    return int(head[start + 18 :] if end < 0 else head[start + 18 : end])


def header(head: bytes, name: bytes) -> str:
    """Return the value of a header, whose name is given in lower case, or an empty string."""
    start = head.lower().find(b"\r\n" + name + b":")
    if start < 0:
        return ""
    start += len(name) + 3
    end = head.find(b"\r\n", start)
    return head[start : len(head) if end < 0 else end].strip().decode("latin-1")
