"""The whole client over TLS, with a throw-away certificate authority, in front of the embedded server."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading

import pytest
import trustme

import tinker_actors as ta

from .conftest import HANG
from .helpers import datum, prompt


def pump(source, sink):
    """Copy bytes until either end closes."""
    with contextlib.suppress(OSError, ssl.SSLError):
        while data := source.recv(65536):
            sink.sendall(data)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def tls_server(server, tmp_path):
    """Yield the URL of a TLS relay before the server, and the path of its authority's certificate."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    cafile = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(cafile)
    host, port = server.url.removeprefix("http://").split(":")
    listener = socket.create_server(("127.0.0.1", 0))
    ends = []

    def accept():
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with contextlib.suppress(OSError, ssl.SSLError):
                inner = context.wrap_socket(plain, server_side=True)
                outer = socket.create_connection((host, int(port)))
                ends.extend([inner, outer])
                for pair in ((inner, outer), (outer, inner)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield f"https://localhost:{listener.getsockname()[1]}", str(cafile)
    listener.close()
    for end in ends:
        end.close()


def test_training_and_sampling_over_tls(tls_server):
    url, cafile = tls_server
    with ta.ServiceClient(base_url=url, config=ta.Config(cafile=cafile)) as service:
        trainer = service.create_lora_training_client("local/tiny", rank=4, seed=0)
        big = [datum("some text to make the request large " * 6) for _ in range(60)]
        assert len(trainer.forward(big, "cross_entropy").result(HANG).loss_fn_outputs) == 60
        sampler = service.create_sampling_client(base_model="local/tiny")
        futures = [sampler.sample(prompt(f"{i}"), 1, ta.SamplingParams(max_tokens=8)) for i in range(32)]
        assert all(future.result(HANG).sequences for future in futures)


def test_an_authority_nobody_trusts_is_refused(tls_server):
    url, _ = tls_server
    config = ta.Config(creation_timeout=1.0)
    refused = pytest.raises(ta.APIConnectionError, match="certificate")
    with ta.ServiceClient(base_url=url, config=config) as service, refused:
        service.create_lora_training_client("local/tiny").result(HANG)
