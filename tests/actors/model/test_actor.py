"""How a training actor finds out which dialect a server reads, on servers that read one, the other or both.

The server is the embedded one, which orders strictly by number, so that a number that nothing was sent under would
stop everything behind it. What stands before it refuses data requests by their dialect.
"""

from __future__ import annotations

import pytest

import tinker_actors as ta
from tinker_actors.protocol.codec.protobuf.compression import decompress_zstd
from tinker_actors.protocol.requests.operations import request_head
from tinker_actors.testing import Mishaps
from tinker_actors.types import ImageAssetPointerChunk

from .peculiar import JSON, PROTOBUF, Peculiar, datum

SERVERS = [
    ((), {"config": True}, PROTOBUF),
    ((), {"config": False}, JSON),
    ((PROTOBUF,), {"status": 400}, JSON),
    ((PROTOBUF,), {"status": 422}, JSON),
    ((PROTOBUF,), {"status": 415}, JSON),
    ((PROTOBUF,), {"config": False}, JSON),
    ((JSON,), {"status": 415, "config": False}, PROTOBUF),
    ((JSON,), {"status": 400, "config": False}, PROTOBUF),
    ((JSON,), {"status": 415}, PROTOBUF),
    ((PROTOBUF,), {"status": 500}, JSON),
    ((JSON,), {"status": 500, "config": False}, PROTOBUF),
]


@pytest.mark.parametrize(("refused", "options", "spoken"), SERVERS)
@pytest.mark.parametrize("chunk_len", [None, 1])
@pytest.mark.parametrize("before_the_model", [True, False])
def test_every_server_is_spoken_to_in_a_dialect_that_it_reads(
    refused, options, spoken, chunk_len, before_the_model, undisturbed
):
    server = Peculiar(*refused, **options, max_chunk_len=chunk_len)
    if not before_the_model:
        server.simulation.wait_for(server.trainer._ready)
    assert server.train() == undisturbed[chunk_len]
    # Once it is known it is kept: nothing is refused any more, and nothing is sent in another dialect.
    known = len(server.seen)
    before = server.service._service.dialect
    assert (before.dialect, before.proven) == (spoken, True)
    server.train(1)
    assert set(server.seen[known:]) == {(spoken, True)}
    server.close()


@pytest.mark.parametrize(("refused", "status"), [(PROTOBUF, 400), (PROTOBUF, 415)])
def test_a_server_that_does_not_order_by_number_is_asked_too(refused, status, undisturbed):
    server = Peculiar(refused, status=status, server_orders=False)
    assert server.train() == undisturbed[None]
    assert server.seen[-1] == (JSON, True)
    server.close()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    ("refused", "options"),
    [((PROTOBUF,), {"status": 400}), ((PROTOBUF,), {"status": 415}), ((JSON,), {"status": 415, "config": False})],
)
def test_it_is_found_out_on_a_network_that_loses_and_repeats(seed, refused, options, undisturbed):
    server = Peculiar(*refused, **options, seed=seed, mishaps=Mishaps(), max_chunk_len=1)
    assert server.train() == undisturbed[1]
    server.close()


@pytest.mark.parametrize("dialect", [PROTOBUF, JSON])
def test_a_given_dialect_is_kept_whatever_the_server_says(dialect, undisturbed):
    server = Peculiar(dialect=dialect, config=dialect == JSON)
    assert server.train() == undisturbed[None]
    assert set(server.seen) == {(dialect, True)}
    server.close()
    server = Peculiar(dialect, dialect=dialect, status=415)
    failed = server.trainer.forward_backward([datum(1)], "cross_entropy")
    server.simulation.wait_for(failed)
    assert failed.exception(0).status_code == 415
    assert {seen for seen, _ in server.seen} == {dialect}
    server.close()


@pytest.mark.parametrize("status", [400, 415, 422])
def test_a_gradient_fails_when_both_dialects_are_refused(status):
    server = Peculiar(PROTOBUF, JSON, status=status)
    failed = server.trainer.forward_backward([datum(1)], "cross_entropy")
    server.simulation.wait_for(failed)
    assert failed.exception(0).status_code == status
    assert {dialect for dialect, _ in server.seen} == {PROTOBUF, JSON}
    assert len(server.seen) <= 4  # the data, and something without effect in its place, in each
    server.close()


def carried(server):
    """Return the list to which every data request that is handed to a lane is added."""
    works = []
    lanes = server.service._service.lanes
    submit = lanes.submit

    def noted(name, work):
        if work.tail.data:
            works.append(work)
        submit(name, work)

    lanes.submit = noted
    return works


def test_a_request_is_doubtful_until_one_in_its_dialect_was_accepted():
    server = Peculiar()
    works = carried(server)
    server.train(1)
    assert [work.tail.doubtful for work in works] == [True, False]
    server.close()
    server = Peculiar(dialect=PROTOBUF)
    works = carried(server)
    server.train(1)
    assert [work.tail.doubtful for work in works] == [False, False]
    server.close()


@pytest.mark.parametrize("chunks", [1, 3])
def test_refused_data_are_the_datas_fault_where_the_server_reads_the_dialect(chunks):
    server = Peculiar(max_chunk_len=1)
    wrong = {"target_tokens": [2], "logprobs": [-1.0], "advantages": [1.0], "sequence_ratio_mask": [1.0]}
    data = [ta.Datum(ta.ModelInput.from_ints([1]), wrong)] * chunks
    refused = server.trainer.forward_backward(data, "gspo")  # the wire knows this loss, the ledger does not
    kept_back = server.trainer.optim_step()
    server.simulation.wait_for(refused, kept_back)
    assert refused.exception(0).status_code == 400
    # One refusal each, and one request without effect under each number, the first of which told that it is read.
    assert server.seen == [(PROTOBUF, True)] * len(server.seen)
    assert server.service._service.dialect.proven
    assert server.train() is not None
    server.close()


def test_pointers_to_images_are_sent_in_json_and_turn_nothing():
    server = Peculiar()
    pointer = ta.ModelInput([ImageAssetPointerChunk("http://a/b.png", "png", expected_tokens=1)]).append_int(5)
    data = [ta.Datum(pointer, {"target_tokens": [5, 6]})]
    server.simulation.wait_for(server.trainer.forward([datum(1)], "cross_entropy"))
    server.simulation.wait_for(server.trainer.forward_backward(data, "cross_entropy"))
    assert [dialect for dialect, _ in server.seen] == [PROTOBUF, JSON]
    assert server.service._service.dialect.dialect == PROTOBUF
    server.close()


def test_pointers_to_images_fail_on_a_server_without_json():
    server = Peculiar(JSON, status=415)
    pointer = ta.ModelInput([ImageAssetPointerChunk("http://a/b.png", "png", expected_tokens=1)])
    failed = server.trainer.forward_backward([ta.Datum(pointer, {"target_tokens": [5]})], "cross_entropy")
    good = server.trainer.forward([datum(1)], "cross_entropy")
    server.simulation.wait_for(failed)
    assert failed.exception(0).status_code == 415
    assert "can't be sent in protobuf" in failed.exception(0).__notes__[0]
    assert server.service._service.dialect.dialect == PROTOBUF
    server.simulation.wait_for(good)
    server.close()


def test_bodies_are_compressed_where_the_server_asks_for_it():
    pytest.importorskip("zstandard")
    server = Peculiar(dialect=PROTOBUF)
    server.simulation.wait_for(server.trainer._ready)
    works = carried(server)
    server.simulation.wait_for(server.trainer.forward([datum(1)], "cross_entropy"))
    server.service._service.server.proto_compress_fwdbwd = True
    server.trainer.forward([datum(1)], "cross_entropy")
    server.simulation.runtime.run_until(lambda: len(works) == 2)
    plain, packed = works
    assert ("Content-Encoding", "zstd") not in plain.tail.headers
    assert ("Content-Encoding", "zstd") in packed.tail.headers
    assert packed.head == b""
    expected = request_head(plain.tail, server.trainer._ready.result(0), 2) + plain.tail.body
    assert decompress_zstd(packed.tail.body, 10_000) == expected
    server.close()
