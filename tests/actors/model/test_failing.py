"""When the user has been told of a failure, and that nothing else tells him: on the simulated embedded server."""

from __future__ import annotations

import asyncio
import contextlib
import pickle

import pytest

import tinker_actors as ta
from tinker_actors.runtime.actor import Describe, RuntimeActor
from tinker_actors.testing import Simulation


def datum(first, **more):
    ids = [first, first + 1, first + 2]
    return ta.Datum(ta.ModelInput.from_ints(ids), {"target_tokens": ids, "weights": [1.0] * 3, **more})


FAILS = [datum(5000)]  # the engine refuses it, the client and the server's door do not
GOOD = [datum(1)]


class World:
    def __init__(self, seed=0, **config):
        self.simulation = Simulation(seed, creation_timeout=1000.0, **config)
        self.service = self.simulation.service()
        self.trainer = self.service.create_lora_training_client("local/ledger", rank=4, seed=1)

    def settled(self, *futures):
        self.simulation.wait_for(*futures)
        return futures[0]

    def failed(self):
        return self.settled(self.trainer.forward_backward(FAILS, "cross_entropy"))

    def goes_on(self):
        """Return whether a good batch called now is trained on."""
        gradient, step = self.trainer.forward_backward(GOOD, "cross_entropy"), self.trainer.optim_step()
        self.settled(gradient, step)
        outcomes = {future._failure() is None for future in (gradient, step)}
        assert len(outcomes) == 1
        return outcomes.pop()

    def later(self):
        """Let callbacks be run."""
        until = self.simulation.runtime.clock.now() + 1.0
        self.simulation.runtime.run_until(lambda: self.simulation.runtime.clock.now() > until)


@pytest.fixture
def world():
    world = World()
    yield world
    world.simulation.close(world.service)


class Heard(RuntimeActor):
    """An actor that is told of results."""

    def receive(self, message):
        return None


def awaited(future):
    async def wait():
        await future

    asyncio.run(wait())


TELLING = {
    "result": lambda world, future: future.result(0),
    "get": lambda world, future: future.get(),
    "exception": lambda world, future: future.exception(0),
    "await": lambda world, future: awaited(future),
    "result_async": lambda world, future: asyncio.run(future.result_async()),
    "callback": lambda world, future: (future.add_done_callback(lambda _: None), world.later()),
    "pipe_to": lambda world, future: (
        future.pipe_to(Heard.start(world.service._service.platform.control), lambda **_: None),
        world.later(),
    ),
    "acknowledge_failure": lambda world, future: world.trainer.acknowledge_failure(),
}


@pytest.mark.parametrize("how", TELLING)
def test_each_way_of_being_told_lets_the_next_batch_train(world, how):
    failed = world.failed()
    with contextlib.suppress(ta.RequestFailedError):
        TELLING[how](world, failed)
    assert world.goes_on()


SILENT = {
    "nothing": lambda world, future: None,
    "done": lambda world, future: future.done(),
    "progress": lambda world, future: future.progress(),
    "repr": lambda world, future: (repr(future), repr(world.trainer)),
    "tree": lambda world, future: (world.trainer.actor_ref.ask(Describe(), block=False), world.later()),
    "barrier": lambda world, future: world.settled(world.trainer._barrier_future()).result(0),
    "step": lambda world, future: world.settled(world.trainer.step(GOOD, "cross_entropy")),
    "another failure": lambda world, future: world.settled(world.trainer.forward(FAILS, "cross_entropy")),
}


@pytest.mark.parametrize("how", SILENT)
def test_nothing_else_tells(world, how):
    SILENT[how](world, world.failed())
    world.later()
    assert not world.goes_on()


def test_a_consequence_tells_of_its_cause(world):
    world.failed()
    behind = world.settled(world.trainer.save_state("behind"))
    assert isinstance(behind.exception(0), ta.PrecedingOperationFailed)
    assert isinstance(behind.exception(0).preceding, ta.RequestFailedError)
    assert world.goes_on()


def test_a_step_of_both_tells_when_it_is_looked_at(world):
    step = world.settled(world.trainer.step(FAILS, "cross_entropy"))
    assert not world.goes_on()
    assert isinstance(step.exception(0), ta.RequestFailedError)
    assert world.goes_on()


SAVES = {
    "save_state": lambda trainer, name: trainer.save_state(name),
    "save_weights_for_sampler": lambda trainer, name: trainer.save_weights_for_sampler(name),
    "forward": lambda trainer, _: trainer.forward(GOOD, "cross_entropy"),
    "publish": lambda trainer, name: trainer.policy(name).publish(),
}


@pytest.mark.parametrize("save", SAVES)
def test_who_catches_the_error_of_a_save_and_saves_again_has_saved(world, save):
    """The failure is not known when the first one is called; its own error tells of it."""
    world.trainer.step(FAILS, "cross_entropy")
    refused = world.settled(SAVES[save](world.trainer, "first"))
    with pytest.raises(ta.PrecedingOperationFailed) as caught:
        refused.result(0)
    if save != "publish":  # which is not the name of what was not done
        assert f"Call {save} again" in str(caught.value)
    assert "acknowledge_failure()" in str(caught.value)
    assert world.settled(SAVES[save](world.trainer, "second")).result(0) is not None


@pytest.mark.parametrize("on_its_way", [False, True])
@pytest.mark.parametrize("chunks", [1, 3])
@pytest.mark.parametrize("save", SAVES)
def test_what_was_acknowledged_before_anybody_heard_of_it_stops_no_save(save, chunks, on_its_way):
    world, other = World(max_chunk_len=1), World(max_chunk_len=1)
    data = [*GOOD * (chunks - 1), *FAILS]
    before = world.trainer.forward_backward(data, "cross_entropy")
    behind = [world.trainer.optim_step(), world.trainer.save_state("ignorant")]
    if on_its_way:
        world.settled(before.accepted)
        assert not before.done()
    world.trainer.acknowledge_failure()
    rescue = SAVES[save](world.trainer, "rescue")
    late = [world.trainer.forward_backward(GOOD, "cross_entropy"), world.trainer.optim_step()]
    world.settled(before, *behind, rescue, *late)
    assert isinstance(before._failure(), ta.RequestFailedError)
    assert {type(future._failure()) for future in behind} == {ta.PrecedingOperationFailed}
    assert rescue._failure() is None
    same = [other.trainer.forward_backward(GOOD, "cross_entropy"), other.trainer.optim_step()]
    other.simulation.wait_for(*same)
    # What is called afterwards is done, and nothing of what was broken is in it.
    assert late[1].result(0).metrics["weights:unique"] == same[1].result(0).metrics["weights:unique"]
    for each in (world, other):
        each.simulation.close(each.service)


def test_what_fails_behind_an_acknowledgement_is_another_failure(world):
    world.trainer.acknowledge_failure()
    failed = world.trainer.forward_backward(FAILS, "cross_entropy")
    refused = world.settled(world.trainer.save_state("x"))
    assert isinstance(refused._failure(), ta.PrecedingOperationFailed)
    assert failed.exception(0)


def test_a_sampler_whose_weights_were_not_saved_tells(world):
    world.failed()
    sampler = world.trainer.save_weights_and_get_sampling_client()
    sample = sampler.sample(ta.ModelInput.from_ints([1]), 1, ta.SamplingParams(max_tokens=1))
    world.settled(sample)
    assert isinstance(sample._failure(), ta.PrecedingOperationFailed)
    assert not world.goes_on()
    with pytest.raises(ta.PrecedingOperationFailed):
        sample.result(0)
    assert world.goes_on()


def test_a_publication_tells(world):
    world.failed()
    published = world.settled(world.trainer.policy("p").publish())
    assert isinstance(published.exception(0), ta.PrecedingOperationFailed)
    assert world.goes_on()


def test_what_was_called_before_fails_whenever_it_is_sent(world):
    failed = world.trainer.forward_backward(FAILS, "cross_entropy")
    before = [world.trainer.optim_step(), world.trainer.save_state("x"), world.trainer.forward(GOOD, "cross_entropy")]
    world.settled(failed)
    assert failed.exception(0)
    after = world.trainer.save_state("y")
    world.settled(after, *before)
    for future in before:
        assert isinstance(future.exception(0), ta.PrecedingOperationFailed)
    assert after.result(0).path


def test_earlier_gradients_of_the_step_count(world):
    first = world.trainer.forward_backward(GOOD, "cross_entropy")
    assert world.failed().exception(0)
    step = world.settled(world.trainer.optim_step())
    other = World()
    same = [other.trainer.forward_backward(GOOD, "cross_entropy"), other.trainer.optim_step()]
    other.simulation.wait_for(*same)
    assert step.result(0).metrics["weights:unique"] == same[1].result(0).metrics["weights:unique"]
    assert first.result(0)
    other.simulation.close(other.service)


@pytest.mark.parametrize("bad_chunk", [0, 1, 2])
@pytest.mark.parametrize("step_called", [True, False])
def test_a_gradient_that_was_computed_in_part_is_discarded_with_its_step(bad_chunk, step_called):
    results = []
    for broken in (True, False):
        world = World(max_chunk_len=1)
        if broken:
            data = [datum(10 * index) for index in range(3)]
            data[bad_chunk] = FAILS[0]
            kept = [world.trainer.forward_backward(GOOD, "cross_entropy")]
            kept += [world.trainer.forward_backward(data, "cross_entropy")]
            kept += [world.trainer.optim_step()] * step_called
            world.simulation.wait_for(*kept)
            for future in kept[1:]:
                assert future.exception(0) is not None
        last = [world.trainer.forward_backward([datum(70)], "cross_entropy"), world.trainer.optim_step()]
        world.simulation.wait_for(*last)
        results.append(last[1].result(0).metrics["weights:unique"])
        world.simulation.close(world.service)
    assert results[0] == results[1]


def test_who_goes_on_whatever_fails_is_stopped_by_nobody():
    world = World(on_step_failure="continue")
    world.failed()
    assert world.goes_on()
    world.simulation.close(world.service)


def test_an_error_in_another_process_tells_nobody(world):
    failed = world.failed()
    copy = pickle.loads(pickle.dumps(failed._failure()))
    assert copy.on_told is None
    assert copy.message == failed._failure().message


def test_a_failed_load_stops_what_was_meant_for_its_weights(world):
    load = world.trainer.load_state("tinker://nowhere/weights/x")
    ignorant = [world.trainer.forward_backward(GOOD, "cross_entropy"), world.trainer.optim_step()]
    world.settled(load, *ignorant)
    assert isinstance(load.exception(0), ta.TinkerError)
    for future in ignorant:
        assert isinstance(future.exception(0), ta.PrecedingOperationFailed)
    assert world.goes_on()
