"""Direct dialing: plain connections, and what can go wrong with them."""

from __future__ import annotations

import errno
import socket

import pytest

from tinker_actors.net.direct_dialing import open_direct, prepared
from tinker_actors.net.target import Target
from tinker_actors.net.transport import Broken, NoFiles


def target(port=1, host="127.0.0.1"):
    return Target(scheme="http", host=host, port=port)


def test_a_connection_does_not_block_and_sends_at_once():
    with socket.create_server(("127.0.0.1", 0)) as server, open_direct(target(server.getsockname()[1])) as sock:
        assert not sock.getblocking()
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_socket_that_can_not_be_prepared_is_closed():
    one, other = socket.socketpair()  # which knows nothing of TCP
    with one, other:
        with pytest.raises(OSError, match=r"."):
            prepared(one)
        assert one.fileno() == -1


def test_a_refused_connection_says_where_and_why():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        broken = open_direct(target(port))

    assert isinstance(broken, Broken)
    assert (broken.kind, broken.phase, broken.sent) == ("connect", "connect", False)
    assert f"http://127.0.0.1:{port}" in broken.message
    assert "refused" in broken.message


@pytest.mark.parametrize(
    ("error", "kind", "of"),
    [
        (TimeoutError("timed out"), "timeout", Broken),
        (OSError(errno.EMFILE, "Too many open files"), "connect", NoFiles),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "connect", Broken),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "connect", Broken),
    ],
)
def test_every_failure_has_its_kind(monkeypatch, error, kind, of):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    broken = open_direct(target())
    assert (type(broken), broken.kind) == (of, kind)


def test_a_host_name_that_can_be_none_is_a_failure_and_no_error():
    assert open_direct(target(host="a" * 70 + ".example")).kind == "connect"
