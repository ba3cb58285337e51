"""Training end to end on the embedded server."""

from __future__ import annotations

import asyncio
import signal

import numpy as np
import pykka
import pytest

import tinker_actors as ta

from .conftest import HANG
from .helpers import bad_datum, datum, prompt


def step(trainer, learning_rate=1e-2):
    return trainer.forward_backward([datum()], "cross_entropy"), trainer.optim_step(
        ta.AdamParams(learning_rate=learning_rate)
    )


def test_the_loss_falls_with_every_step_submitted_before_its_gradient_is_known(trainer):
    futures = [step(trainer) for _ in range(15)]
    losses = [gradient.result(HANG).metrics["loss:sum"] for gradient, _ in futures]
    assert losses[-1] < losses[0] / 2
    assert all(optimizer.result(HANG) is not None for _, optimizer in futures)


def test_forward_leaves_gradients_and_weights_alone(trainer):
    first = trainer.forward([datum()], "cross_entropy").result(HANG)
    again = trainer.forward([datum()], "cross_entropy").result(HANG)
    np.testing.assert_array_equal(
        first.loss_fn_outputs[0]["logprobs"].to_numpy(), again.loss_fn_outputs[0]["logprobs"].to_numpy()
    )


def test_large_data_is_cut_into_requests_and_the_results_are_merged(server):
    data = [datum(f"number {i}") for i in range(5)]
    with (
        ta.ServiceClient(base_url=server.url) as whole,
        ta.ServiceClient(base_url=server.url, config=ta.Config(max_chunk_len=2)) as cut,
    ):
        expected, merged = (
            service.create_lora_training_client("local/tiny", rank=4, seed=0)
            .forward_backward(data, "cross_entropy")
            .result(HANG)
            for service in (whole, cut)
        )
    assert len(merged.loss_fn_outputs) == len(data)
    assert merged.metrics["loss:sum"] == pytest.approx(expected.metrics["loss:sum"], rel=1e-5)


def test_a_checkpoint_restores_weights_and_optimizer(service, trainer):
    for gradient, optimizer in [step(trainer) for _ in range(3)]:
        gradient.result(HANG), optimizer.result(HANG)
    path = trainer.save_state("half-way").result(HANG).path
    expected = [f.result(HANG).metrics["loss:sum"] for f, _ in [step(trainer) for _ in range(3)]]
    resumed = service.create_training_client_from_state_with_optimizer(path)
    assert [f.result(HANG).metrics["loss:sum"] for f, _ in [step(resumed) for _ in range(3)]] == expected
    assert resumed.get_info().lora_rank == 4


def test_load_state_takes_an_existing_model_back(trainer):
    path = trainer.save_state("start").result(HANG).path
    before = trainer.forward([datum()], "cross_entropy").result(HANG).metrics["loss:sum"]
    step(trainer)[1].result(HANG)
    changed = trainer.forward([datum()], "cross_entropy").result(HANG).metrics["loss:sum"]
    trainer.load_state(path).result(HANG)
    assert trainer.forward([datum()], "cross_entropy").result(HANG).metrics["loss:sum"] == before != changed


def test_a_failed_gradient_takes_the_pipelined_step_with_it(trainer):
    before = trainer.forward([datum()], "cross_entropy").result(HANG).metrics["loss:sum"]
    good = trainer.forward_backward([datum()], "cross_entropy")
    failed = trainer.forward_backward([bad_datum()], "cross_entropy")
    refused = trainer.optim_step(ta.AdamParams(learning_rate=0.1))
    with pytest.raises(ta.RequestFailedError) as cause:
        failed.result(HANG)
    with pytest.raises(ta.PrecedingOperationFailed) as error:
        refused.result(HANG)
    good.result(HANG)
    assert "100000" in cause.value.message
    assert error.value.outcome == "not_applied"
    assert "forward_backward" in str(error.value)
    # Not applied, gradients discarded, and the next step is a clean one.
    assert trainer.forward([datum()], "cross_entropy").result(HANG).metrics["loss:sum"] == before
    gradient, optimizer = step(trainer)
    gradient.result(HANG), optimizer.result(HANG)


def test_what_is_called_after_a_failure_was_raised_is_done(trainer):
    with pytest.raises(ta.RequestFailedError):
        trainer.forward_backward([bad_datum()], "cross_entropy").result(HANG)
    gradient, optimizer = step(trainer)
    gradient.result(HANG), optimizer.result(HANG)
    assert trainer.save_state("behind").result(HANG).path


def test_a_proxy_answers_with_one_get(trainer):
    proxy = trainer.proxy()
    gradient, optimizer = proxy.forward_backward([datum()], "cross_entropy"), proxy.optim_step()
    results = pykka.get_all([gradient, optimizer], timeout=HANG)
    assert isinstance(results[0], ta.ForwardBackwardOutput)
    assert isinstance(results[1], ta.OptimStepResponse)
    assert gradient.accepted.get(timeout=HANG) == gradient.request_id
    assert proxy.get_info().get(timeout=HANG).model_name == "local/tiny"


def test_results_are_piped_into_the_users_actor(trainer):
    class Trainer(pykka.ThreadingActor):
        def __init__(self):
            super().__init__()
            self.heard = pykka.ThreadingFuture()

        def on_receive(self, message):
            self.heard.set(message)

    actor = Trainer.start()
    try:
        heard = actor.proxy().heard.get()
        trainer.forward_backward([datum()], "cross_entropy").pipe_to(actor, lambda **message: message)
        message = heard.get(timeout=HANG)
    finally:
        actor.stop()
    assert message["error"] is None
    assert message["result"].metrics["loss:sum"] > 0


# ---------------------------------------------------------------- asyncio


def test_wait_for_gives_up_waiting_and_not_the_operation(trainer):
    async def main():
        future = trainer.forward_backward([datum()] * 200, "cross_entropy")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(future, 1e-4)
        return await future

    assert len(asyncio.run(main()).loss_fn_outputs) == 200


def test_a_failing_sibling_in_a_task_group_leaves_the_operation_alone(trainer):
    futures = []

    async def wait():
        futures.append(trainer.optim_step())
        await futures[0]

    async def fail():
        raise ValueError("sibling")

    async def main():
        async with asyncio.TaskGroup() as group:
            group.create_task(wait())
            group.create_task(fail())

    with pytest.raises(ExceptionGroup):
        asyncio.run(main())
    assert isinstance(futures[0].result(HANG), ta.OptimStepResponse)


def test_of_two_awaiters_one_may_be_cancelled(trainer):
    async def main():
        future = trainer.forward_backward([datum()] * 50, "cross_entropy")
        first, second = (asyncio.ensure_future(future.coroutine()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        result = await second
        assert first.cancelled()
        return result

    assert len(asyncio.run(main()).loss_fn_outputs) == 50


def test_ctrl_c_in_asyncio_run_leaves_the_operation_to_finish(trainer):
    futures = []

    async def main():
        futures.append(trainer.forward_backward([datum()] * 50, "cross_entropy"))
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
        await futures[0]

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    assert len(futures[0].result(HANG).loss_fn_outputs) == 50


def test_the_async_twins_submit_or_await_as_the_official_ones_do(server):
    async def main():
        async with ta.ServiceClient(base_url=server.url) as service:
            trainer = await service.create_lora_training_client_async("local/tiny", rank=2, seed=0)
            gradient = await trainer.forward_backward_async([datum()], "cross_entropy")
            optimizer = await trainer.optim_step_async(ta.AdamParams())
            assert isinstance(gradient, ta.APIFuture)
            output = await gradient.result_async()
            await optimizer
            sampler = await trainer.save_weights_and_get_sampling_client_async()
            response = await sampler.sample_async(prompt("hi"), 1, ta.SamplingParams(max_tokens=2))
            return output, response, await sampler.get_base_model_async(), await trainer.get_info_async()

    output, response, base_model, info = asyncio.run(main())
    assert output.metrics["loss:sum"] > 0
    assert isinstance(response, ta.SampleResponse)
    assert base_model == info.model_name == "local/tiny"


def test_a_client_can_be_used_from_a_new_event_loop_each_time(trainer):
    async def once():
        return await trainer.forward([datum()], "cross_entropy")

    assert asyncio.run(once()).metrics == asyncio.run(once()).metrics
