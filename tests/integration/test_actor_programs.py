"""Programs of actors of the user's own, which drive trainers and samplers through proxies on a real server."""

from __future__ import annotations

import asyncio
import gc

import pykka
import pytest

import tinker_actors as ta

from .conftest import HANG
from .helpers import bad_datum, datum, eventually, prompt
from .test_sampling import block

PARAMS = ta.SamplingParams(max_tokens=4, stop=[], seed=1)
LONG = ta.SamplingParams(max_tokens=100_000, stop=[])


class Worker(pykka.ThreadingActor):
    """Samples, and trains on what it samples; keeps its proxies where everybody sees them."""

    use_daemon_thread = True

    def __init__(self, trainer, policy):
        super().__init__()
        self.trainer = trainer
        self.policy = policy
        self.heard = []

    def on_receive(self, message):
        self.heard.append(message)

    def train(self, text):
        """Train once; return the versions of the weights that were sampled before and behind."""
        before = self.policy.sample(prompt(text), 1, PARAMS).get(timeout=HANG).weights_version
        step = self.trainer.step([datum(text)], "cross_entropy")
        step.pipe_to(self.actor_ref, lambda result, error: (result, error))
        return before, self.policy.publish().get(timeout=HANG)

    def fail(self):
        return self.trainer.forward_backward([bad_datum()], "cross_entropy").get(timeout=HANG)

    def call_much(self, number):
        for _ in range(number):
            self.trainer.step.defer([datum()], "cross_entropy")


@pytest.fixture
def workers(trainer):
    """Proxies of four workers, and the proxy of what they train."""
    policy = trainer.policy("main").proxy()
    policy.publish.defer()
    refs = [Worker.start(trainer.proxy(), policy) for _ in range(4)]
    yield [ref.proxy() for ref in refs]
    for ref in refs:
        ref.stop(block=True, timeout=HANG)


def test_workers_train_and_sample_one_model(trainer, workers):
    rounds = [worker.train(text) for text in ("ab", "cd", "ef") for worker in workers]
    versions = pykka.get_all(rounds, timeout=HANG)
    assert trainer.proxy().policy("main").get().publish().result(HANG) == len(rounds), "each step was called once"
    assert all(before < behind for before, behind in versions)
    heard = [message for worker in workers for message in worker.heard.get(timeout=HANG)]
    assert [error for _, error in heard] == [None] * len(heard)
    eventually(lambda: sum(len(worker.heard.get(timeout=HANG)) for worker in workers) == len(rounds))


def test_a_failure_reaches_the_actor_that_asks_and_leaves_both_actors_well(trainer, workers):
    failed = workers[0].fail()
    with pytest.raises(ta.RequestFailedError):
        failed.get(timeout=HANG)
    assert workers[0].train("ab").get(timeout=HANG) == (0, 1)
    assert trainer.actor_ref.is_alive()


def test_what_an_actor_called_is_done_when_it_is_gone(server):
    with ta.ServiceClient(base_url=server.url) as service:
        trainer = service.proxy().create_lora_training_client("local/tiny", rank=4, seed=0).get(timeout=HANG)
        policy = trainer.policy("main").proxy()
        worker = Worker.start(trainer.proxy(), policy)
        worker.proxy().call_much(5).get(timeout=HANG)
        version = policy.publish()
        del trainer, policy
        pykka.ActorRegistry.stop_all(timeout=HANG)
        gc.collect()
        assert not worker.is_alive()
    assert version.get(timeout=0) == 5


def test_results_of_the_programs_actors_and_of_ours_are_joined(trainer, workers):
    scored = trainer.proxy().forward([datum()], "cross_entropy").map(lambda output: output.metrics["loss:sum"])
    joined = scored.join(workers[0].train("ab"), workers[1].heard)
    loss, versions, heard = joined.get(timeout=HANG)
    assert loss > 0
    assert versions[1] > versions[0]
    assert heard == []


def test_attributes_that_are_proxies_are_read_through_pykkas_proxies(trainer, workers):
    assert workers[0].trainer.get(timeout=HANG) == trainer.proxy()
    info = workers[0].trainer.get(timeout=HANG).get_info()
    assert info.get(timeout=HANG).model_name == "local/tiny"


def test_tasks_await_proxies(server):
    async def main():
        service = ta.ServiceClient(base_url=server.url)
        proxy = service.proxy()
        trainer, sampler = await asyncio.gather(
            proxy.create_lora_training_client("local/tiny", rank=4, seed=0).coroutine(),
            proxy.create_sampling_client(base_model="local/tiny").coroutine(),
        )
        step = trainer.proxy().step([datum()], "cross_entropy")
        texts = [
            sampler.proxy().sample(prompt(text), 1, PARAMS).map(lambda response: bytes(response.sequences[0].tokens))
            for text in ("a", "b", "a")
        ]
        first, second, third = await texts[0].join(*texts[1:])
        await step
        await proxy.close()
        return first, second, third, service.closed

    first, second, third, closed = asyncio.run(main())
    assert len(first) == len(second) == 4
    assert first == third
    assert closed


def test_a_task_that_is_cancelled_cancels_its_sample_on_the_server(server):
    async def main(sampler):
        task = asyncio.ensure_future(sampler.sample(prompt("a"), 1, LONG).map(len).coroutine())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with ta.ServiceClient(base_url=server.url) as service:
        sampler = service.create_sampling_client(base_model="local/tiny").result(HANG)
        budget = service._service.lanes.queue_budget
        asyncio.run(main(sampler.proxy()))
        eventually(lambda: (budget.held, budget.holders) == (0, 0))


def test_closing_through_a_proxy_finishes_what_was_called_and_holds_up_nobody(server):
    service = ta.ServiceClient(base_url=server.url)
    trainer = service.create_lora_training_client("local/tiny", rank=4).proxy()
    saved = [trainer.step([datum("a long one " * 20)] * 50, "cross_entropy"), trainer.save_state("kept")]
    closing = service.proxy().close(timeout=HANG)
    assert service.closed
    with pytest.raises(ta.ClientClosedError):
        trainer.optim_step()
    del service
    gc.collect()
    again = trainer._client._keeper.proxy().close(timeout=HANG)
    assert closing.join(again).get(timeout=HANG) == [None, None]
    assert all(future.done() for future in saved)
    assert saved[1].get(timeout=0).path.endswith("/kept")
    assert not trainer.actor_ref.is_alive()


def test_the_local_door_is_left_through_a_proxy():
    service = ta.ServiceClient(base_url="local:")
    proxy = service.proxy()
    assert "local/tiny" in str(proxy.get_server_capabilities().get(timeout=HANG))
    closed = proxy.close().map(lambda _: service.closed)
    assert closed.get(timeout=HANG) is True


def test_the_tree_comes_while_the_actors_stand_still(service, trainer):
    """Whoever asks for it is not held up, and what does not answer is said not to."""
    trainer.result(HANG)
    release = block(service._service.registry)  # and with it the thread that all of them run on
    try:
        tree = service.proxy().tree()
        assert not tree.done()
        assert "supervisor: does not answer" in str(tree.get(timeout=HANG))
    finally:
        release.set()


def test_calls_of_many_actors_keep_each_ones_order(server):
    """Every actor alternates between the client and its proxy; saving behind a step has that step in it."""
    with ta.ServiceClient(base_url=server.url) as service:
        trainer = service.create_lora_training_client("local/tiny", rank=4, seed=0)
        policy = trainer.policy("main")

        class Alternating(pykka.ThreadingActor):
            use_daemon_thread = True

            def work(self, number):
                versions = []
                for turn in range(number):
                    driver, publisher = (trainer, policy.proxy()) if turn % 2 else (trainer.proxy(), policy)
                    driver.step([datum()], "cross_entropy")
                    versions.append(publisher.publish())
                return versions

        refs = [Alternating.start() for _ in range(3)]
        called = pykka.get_all([ref.proxy().work(4) for ref in refs], timeout=HANG)
        versions = [[version.get(timeout=HANG) for version in mine] for mine in called]
        for ref in refs:
            ref.stop(block=True, timeout=HANG)
    assert all(mine == sorted(set(mine)) for mine in versions)
    assert max(max(mine) for mine in versions) == 12
