"""Numbers that the server took nothing under: filled, or a reason for what is behind them."""

from __future__ import annotations

import random

import pytest

import tinker_actors as ta
from tinker_actors.testing import Mishaps

from .peculiar import JSON, PROTOBUF, Peculiar, datum


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
