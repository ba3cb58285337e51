"""Small requests that become large, on a server with 1 GiB of memory: it refuses them, and answers others meanwhile."""

from __future__ import annotations

import gzip

import pytest
import zstandard

from tinker_actors.protocol.codec.protobuf.schema import messages

from .attacking import SmallServer, filled, post, together, unhurt

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server():
    with SmallServer() as running:
        yield running


METADATA = b'{"tags": [], "sdk_version": "0", "user_metadata": {"a": [%s 0]}}'
UNITS = [b"[],", b'{"a":{}},', b"1,", b'"",']


@pytest.mark.parametrize("unit", UNITS)
def test_metadata_that_unpack_to_a_hundred_megabytes(server, unit):
    packed = zstandard.ZstdCompressor(level=19).compress(METADATA % filled(unit, 100_000_000))
    assert len(packed) < 100_000
    with unhurt(server):
        calls = 4 * [lambda: post(server, "create_session", packed, content_encoding="zstd")]
        assert set(together(*calls)) == {413}


def windowed(log: int, body: bytes) -> bytes:
    """Return a zstd frame that asks its reader to keep 2**log bytes, and says nothing about how long it is."""
    packing = zstandard.ZstdCompressionParameters(window_log=log, write_content_size=False)
    packer = zstandard.ZstdCompressor(compression_params=packing).compressobj()
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize("log", [24, 27, 31])
def test_frames_that_ask_for_much_memory(server, log):
    """More than the body may have is never needed to read it."""
    packed = windowed(log, METADATA % filled(b'"",', 1_000))
    with unhurt(server):
        for _ in range(3):
            calls = 8 * [lambda: post(server, "create_session", packed, content_encoding="zstd")]
            assert set(together(*calls)) == {400}


def test_a_frame_of_an_ordinary_size_is_read(server):
    packed = windowed(22, METADATA % filled(b'"",', 1_000))
    assert post(server, "create_session", packed, content_encoding="zstd") == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd, zstd", "gzip, zstd"])
def test_what_is_packed_in_another_way_is_not_unpacked(server, encoding):
    packed = gzip.compress(METADATA % filled(b"[],", 30_000_000))
    with unhurt(server):
        for path in ("create_session", "forward_backward", "asample"):
            assert post(server, path, packed, content_encoding=encoding) == 415


def held(tag: bytes, inside: bytes) -> bytes:
    return tag + varint(len(inside)) + inside


def varint(number: int) -> bytes:
    found = b""
    while number >= 0x80:
        found += bytes([number & 0x7F | 0x80])
        number >>= 7
    return found + bytes([number])


def datum(inside: bytes) -> bytes:
    """A message of one datum, from its raw bytes."""
    return held(b"\x1a", inside)


SIZE = 60_000_000

PROTOBUF = {
    "datums": filled(b"\x1a\x00", SIZE),
    "chunks": datum(filled(b"\x0a\x00", SIZE)),
    "kinds of one chunk": datum(held(b"\x0a", filled(b"\x0a\x00\x12\x00", SIZE))),
    "inputs": datum(filled(b"\x12\x00", SIZE)),
    "spans": datum(filled(b"\x1a\x00", SIZE)),
    "shape": datum(held(b"\x12", held(b"\x12", held(b"\x22", b"\x01" * SIZE)))),
    "configuration": filled(b"\x2a\x00", SIZE),
    "fields that nobody knows": filled(b"\x7a\x00", SIZE),
}


@pytest.mark.parametrize("name", PROTOBUF)
def test_messages_of_two_bytes_each(server, name):
    with unhurt(server):
        for body in (PROTOBUF[name][:10_000_000], PROTOBUF[name]):
            calls = 2 * [lambda body=body: post(server, "forward_backward", body, "application/x-protobuf")]
            assert set(together(*calls)) <= {400, 413}


def test_a_hundred_megabytes_of_empty_datums(server):
    """Also when nobody says beforehand that there are so many."""
    body = filled(b"\x1a\x00", 100_000_000)
    pieces = [body[place : place + 2**20] for place in range(0, len(body), 2**20)]
    with unhurt(server):
        for sent in (body, iter(pieces)):
            assert post(server, "forward_backward", sent, "application/x-protobuf") == 413


def test_a_valid_message_is_not_too_many(server):
    """What official clients send at most: 1,024 datums in a request."""
    request = messages().ForwardBackwardRequest(model_id="none:train:0", seq_id=1, loss_fn="cross_entropy")
    for _ in range(1024):
        one = request.data.add()
        one.model_input.add().encoded_text.tokens = b"\1\0\0\0" * 100
        for name in ("target_tokens", "weights", "logprobs", "advantages", "mask"):
            tensor = one.loss_fn_inputs[name]
            tensor.dense, tensor.dtype = b"\0" * 400, 1
            tensor.shape.append(100)
        for _ in range(3):
            one.model_input_spans.add().prompt_tokens.length = 3
    body = request.SerializeToString()
    assert post(server, "forward_backward", body, "application/x-protobuf") == 404  # no such model: it was read


TRAINING = (
    b'{"model_id": "x", "seq_id": 1, "forward_backward_input": {"data": [%s], "loss_fn": "a", "loss_fn_config": %s}}'
)

JSON = {
    "datums": TRAINING % (filled(b'{"model_input":{"chunks":[]}},', SIZE)[:-1], b"{}"),
    "configuration": TRAINING % (b"", b'{"a": [%s 0]}' % filled(b"[],", SIZE)),
    "numbers": TRAINING % (b'{"model_input":{"chunks":[{"tokens":[%s0]}]}}' % filled(b"300,", SIZE), b"{}"),
    "depth": b"[" * SIZE,
    "pairs": b"[%s[]]" % filled(b"[[],[]],", SIZE),
}


@pytest.mark.parametrize("name", JSON)
def test_training_data_in_json_that_become_much(server, name):
    with unhurt(server):
        assert set(together(*2 * [lambda: post(server, "forward_backward", JSON[name])])) <= {400, 413, 422}


@pytest.mark.parametrize("path", ["create_model", "optim_step", "load_weights", "retrieve_future", "telemetry"])
def test_lists_of_lists_where_no_data_are_expected(server, path):
    body = b'{"model_id": "x", "a": [%s[]]}' % filled(b"[[],[1]],", 4_000_000)
    with unhurt(server):
        for _ in range(3):
            assert set(together(*8 * [lambda: post(server, path, body)])) == {413}


@pytest.mark.parametrize("path", ["forward_backward", "asample"])
def test_data_without_a_number_to_be_held(server, path):
    """What is refused is not built for the sake of the number that it may hold."""
    size = SIZE if path == "forward_backward" else 16_000_000
    body = b'{"model_idx": [%s 0]}' % filled(b"{},", size)
    with unhurt(server):
        assert set(together(*2 * [lambda: post(server, path, body)])) == {413}
