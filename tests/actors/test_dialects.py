"""How a training actor finds out which dialect a server reads, on servers that read one, the other or both.

The server is the embedded one, which orders strictly by number, so that a number that nothing was sent under would
stop everything behind it. What stands before it refuses data requests by their dialect.
"""

from __future__ import annotations

import random

import pytest

import tinker_actors as ta
from tinker_actors.local.core import Answer as CoreAnswer
from tinker_actors.protocol.codec.protobuf.compression import decompress_zstd
from tinker_actors.protocol.requests.operations import request_head
from tinker_actors.testing import Mishaps, Simulation
from tinker_actors.testing.network import CALM
from tinker_actors.types import ImageAssetPointerChunk

PROTOBUF, JSON = "protobuf", "json"
DATA = ("/forward_backward", "/forward")


def datum(first):
    ids = [first, first + 1, first + 2]
    values = {"target_tokens": [token + 1 for token in ids], "weights": [1.0] * 3}
    return ta.Datum(ta.ModelInput.from_ints(ids), values)


class Peculiar:
    """A service on a server that refuses data requests in some dialects with some status."""

    def __init__(self, *refused, status=400, config=True, seed=0, mishaps=CALM, **options):
        self.refused = refused
        self.takes = lambda seen: True
        self.simulation = Simulation(seed, mishaps, creation_timeout=1000.0, **options)
        self.seen = []
        core = self.simulation.core
        answer = core.handle

        def handle(request, now):
            if request.path.endswith("client/config") and not config:
                return CoreAnswer(404, b'{"detail":"Not Found"}')
            if request.path.endswith(DATA):
                dialect = PROTOBUF if "protobuf" in request.headers["content-type"] else JSON
                taken = dialect not in self.refused and self.takes(self.seen)
                self.seen.append((dialect, taken))
                if not taken:
                    return CoreAnswer(status, b'{"detail":"not understood"}')
            return answer(request, now)

        core.handle = handle
        self.service = self.simulation.service()
        self.trainer = self.service.create_lora_training_client("local/ledger", rank=4, seed=1)

    def train(self, steps=2):
        """Run some steps that are all called at once; return what they say of the weights."""
        futures = []
        for i in range(steps):
            data = [datum(10 * i + j) for j in range(3)]
            futures.append(self.trainer.forward_backward(data, "cross_entropy"))
            futures.append(self.trainer.optim_step(ta.AdamParams(learning_rate=0.1 * (i + 1))))
        futures.append(self.trainer.forward([datum(1)], "cross_entropy"))
        self.simulation.wait_for(*futures)
        return [future.result(0).metrics for future in futures]

    def close(self):
        self.simulation.close(self.service)


@pytest.fixture(scope="module")
def undisturbed():
    results = {}
    for chunk_len in (None, 1):
        server = Peculiar(max_chunk_len=chunk_len)
        results[chunk_len] = server.train()
        assert set(server.seen) == {(PROTOBUF, True)}
        server.close()
    return results


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


@pytest.mark.parametrize("chunks", [1, 3])
@pytest.mark.parametrize("status", [400, 403, 415, 422, 500])
@pytest.mark.parametrize("name", ["forward_backward", "forward"])
def test_what_is_behind_a_number_that_cant_be_filled_fails_and_says_why(name, status, chunks):
    server = Peculiar(PROTOBUF, JSON, status=status, max_chunk_len=1)
    refused = getattr(server.trainer, name)([datum(i) for i in range(chunks)], "cross_entropy")
    behind = [
        server.trainer.save_state("behind"),
        server.trainer.save_weights_for_sampler("behind"),
        server.trainer.forward([datum(1)], "cross_entropy"),
    ]
    server.simulation.wait_for(refused, *behind, server.trainer._barrier_future())
    assert refused.exception(0).status_code == status
    for future in behind:
        assert type(future.exception(0)) is ta.PrecedingOperationFailed
    server.trainer.acknowledge_failure()  # else that is the reason
    for later in (server.trainer.save_state("later"), server.trainer.forward([datum(1)], "cross_entropy")):
        server.simulation.wait_for(later)
        why = later.exception(0)
        assert type(why) is ta.PrecedingOperationFailed
        assert "number 1" in str(why)
        assert why.preceding.status_code == status
    server.close()


def test_what_one_open_number_stopped_has_one_cause():
    server = Peculiar(PROTOBUF, max_chunk_len=1)
    server.takes = lambda seen: not any(taken for _, taken in seen)  # one filler, in JSON, and nothing behind it
    trainer = server.trainer
    called = [
        trainer.forward_backward([datum(i) for i in range(3)], "cross_entropy"),
        trainer.optim_step(),
        trainer.forward_backward([datum(1)], "cross_entropy"),
        trainer.save_state("behind"),
    ]
    server.simulation.wait_for(*called, trainer._barrier_future())
    errors = [future._failure() for future in called]
    assert {type(error) for error in errors} == {ta.PrecedingOperationFailed}
    assert len({id(error.preceding) for error in errors}) == 1
    assert "number 1" in str(errors[0].preceding)
    assert len({error.on_told.cause for error in errors}) == 1
    server.close()


@pytest.mark.parametrize("chunks", [1, 3])
def test_a_model_goes_on_when_the_server_lets_its_open_number_be_filled(chunks, undisturbed):
    server = Peculiar(max_chunk_len=1)
    server.simulation.wait_for(server.trainer.forward([datum(1)], "cross_entropy"))
    server.refused = (PROTOBUF, JSON)
    failed = server.trainer.forward_backward([datum(i) for i in range(chunks)], "cross_entropy")
    behind = server.trainer.optim_step()
    server.simulation.wait_for(failed, behind)
    assert type(behind.exception(0)) is ta.PrecedingOperationFailed
    server.refused = ()
    server.trainer.acknowledge_failure()
    assert server.train() == undisturbed[1]
    server.close()


@pytest.mark.parametrize("seed", [*range(10), 32, 372])
def test_a_server_that_refuses_at_random_on_a_bad_network_leaves_nobody_waiting(seed):
    chance = random.Random(seed)
    server = Peculiar(status=chance.choice([400, 403, 415, 422, 500]), max_chunk_len=1, seed=seed, mishaps=Mishaps())
    server.takes = lambda seen: chance.random() > 0.35
    trainer, data = server.trainer, [datum(i) for i in range(3)]
    for number in range(4):
        called = []
        for i in range(4):
            called.append(trainer.forward_backward(data[: chance.choice([1, 3])], "cross_entropy"))
            called.append(trainer.optim_step())
            called.append(trainer.forward(data[: chance.choice([1, 2])], "cross_entropy"))
            called.append(trainer.save_weights_for_sampler(f"s{number}-{i}"))
        server.simulation.wait_for(*called, trainer._barrier_future())
        for future in called:
            assert isinstance(future.exception(0), ta.TinkerError | None)
        trainer.acknowledge_failure()
    server.takes = lambda seen: True
    # A filler may be under way that is refused, but this was called later than that was sent.
    server.simulation.wait_for(good := trainer.forward(data, "cross_entropy"), trainer._barrier_future())
    assert good.exception(0) is None
    server.close()


@pytest.mark.parametrize("name", ["save_state", "save_weights_for_sampler", "forward", "forward_backward"])
def test_what_is_called_while_a_filler_is_being_refused_has_it_tried_again(name):
    server, later = Peculiar(PROTOBUF, JSON), []
    refused = server.trainer.forward([datum(1)], "cross_entropy")
    server.simulation.wait_for(refused, server.trainer._barrier_future())
    assert refused.exception(0).status_code == 400
    before, server.refused = len(server.seen), ()

    def takes(seen):
        attempt = seen[before:]
        if len(attempt) == 1:  # the last form of the filler is refused now, and nobody has heard of it
            arguments = ([datum(1)], "cross_entropy") if name.startswith("forward") else ("later",)
            later.append(getattr(server.trainer, name)(*arguments))
        return len(attempt) > 1

    server.takes = takes
    first = server.trainer.save_state("first")
    server.simulation.wait_for(first)
    server.simulation.wait_for(*later)
    assert "number 1" in str(first.exception(0))
    assert later[0].exception(0) is None
    server.close()


def test_chunks_that_the_server_holds_behind_an_open_number_are_not_waited_for():
    server = Peculiar(max_chunk_len=1, dialect=PROTOBUF)
    server.takes = lambda seen: sum(taken for _, taken in seen) < 2
    failed = server.trainer.forward([datum(i) for i in range(3)], "cross_entropy")
    behind = server.trainer.save_state("behind")
    server.simulation.wait_for(failed, behind, server.trainer._barrier_future())
    assert failed.exception(0).status_code == 400
    assert "number 1" in str(behind.exception(0))
    server.takes = lambda seen: True
    server.simulation.wait_for(server.trainer.save_state("later"))
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
