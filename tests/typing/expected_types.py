"""The types that a program sees: mypy and pyright agree on each of them, and on what is wrong. Never run.

A line with `type: ignore` has to be an error for both.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncIterable
from typing import Any, Literal, assert_type

import numpy as np
import numpy.typing as npt

import tinker_actors as ta
from tinker_actors.clients.tree import Node
from tinker_actors.events import Event, SessionLost
from tinker_actors.local.process import LocalServer
from tinker_actors.runtime.progress import Progress
from tinker_actors.types import StepResult, TopkLogprobs


def servers() -> None:
    assert_type(ta.local_server(port=0), LocalServer)
    with ta.local_server() as server:
        assert_type(server, LocalServer)
        assert_type(server.url, str)
    ta.local_server(port="0")  # type: ignore[arg-type]
    ta.local_server(prot=0)  # type: ignore[call-arg]


def futures(samples: list[ta.APIFuture[ta.SampleResponse]], save: ta.APIFuture[ta.SaveWeightsResponse]) -> None:
    for done in concurrent.futures.as_completed(samples, timeout=1):
        assert_type(done, concurrent.futures.Future[ta.SampleResponse])
        assert_type(done.result(), ta.SampleResponse)
    waited = concurrent.futures.wait(samples, return_when=concurrent.futures.FIRST_COMPLETED)
    assert_type(waited.done, set[concurrent.futures.Future[ta.SampleResponse]])
    assert_type(save.result(1.0).path, str)
    assert_type(save.get(timeout=1.0), ta.SaveWeightsResponse)
    assert_type(save.exception(), BaseException | None)
    assert_type(save.progress(), Progress)
    assert_type(save.accepted, ta.APIFuture[str | None])
    assert_type(save.map(lambda saved: len(saved.path)), ta.APIFuture[int])
    assert_type(
        samples[0].map(lambda response: response.sequences).filter(bool), ta.APIFuture[list[ta.SampledSequence]]
    )
    save.get(1.0)  # type: ignore[call-arg]


async def awaiting(sample: ta.APIFuture[ta.SampleResponse], save: ta.APIFuture[ta.SaveWeightsResponse]) -> None:
    assert_type(await sample, ta.SampleResponse)
    assert_type(await sample.result_async(1.0), ta.SampleResponse)
    assert_type(await asyncio.gather(sample, save), tuple[ta.SampleResponse, ta.SaveWeightsResponse])
    assert_type(await asyncio.wait_for(sample, 1.0), ta.SampleResponse)
    assert_type(await asyncio.create_task(sample.coroutine()), ta.SampleResponse)


def told(event: Event) -> None: ...
def told_of_loss(event: SessionLost) -> None: ...


def service(client: ta.ServiceClient) -> None:
    assert_type(client.create_lora_training_client("local/tiny", rank=8), ta.TrainingClient)
    assert_type(client.create_training_client_from_state_with_optimizer("tinker://a/weights/b"), ta.TrainingClient)
    assert_type(client.create_sampling_client(base_model="local/tiny").result(), ta.SamplingClient)
    assert_type(client.get_server_capabilities(), ta.GetServerCapabilitiesResponse)
    assert_type(client.tree(), Node)
    assert_type(client.closed, bool)
    client.events.subscribe(told)
    client.events.subscribe(told_of_loss, SessionLost)
    client.events.subscribe(told_of_loss)  # type: ignore[arg-type]
    client.events.subscribe(1)  # type: ignore[call-overload]
    client.create_lora_training_client("local/tiny", rnak=8)  # type: ignore[call-arg]
    client.create_lora_training_client("local/tiny", rank="8")  # type: ignore[arg-type]


async def service_twins(client: ta.ServiceClient) -> None:
    assert_type(await client.create_lora_training_client_async("local/tiny", rank=8), ta.TrainingClient)
    assert_type(await client.create_training_client_from_state_async("tinker://a/weights/b"), ta.TrainingClient)
    assert_type(await client.create_sampling_client_async(base_model="local/tiny"), ta.SamplingClient)
    assert_type(await client.get_server_capabilities_async(timeout=1), ta.GetServerCapabilitiesResponse)
    async with client as entered:
        assert_type(entered, ta.ServiceClient)
    await client.create_lora_training_client_async("local/tiny", rnak=8)  # type: ignore[call-arg]
    await client.create_lora_training_client_async("local/tiny", rank="8")  # type: ignore[arg-type]


def training(trainer: ta.TrainingClient, data: list[ta.Datum]) -> None:
    assert_type(trainer.forward(data, "cross_entropy"), ta.APIFuture[ta.ForwardBackwardOutput])
    assert_type(trainer.optim_step({"learning_rate": 1e-3}), ta.APIFuture[ta.OptimStepResponse])
    assert_type(trainer.step(data, "ppo"), ta.APIFuture[StepResult])
    assert_type(trainer.save_state("name"), ta.APIFuture[ta.SaveWeightsResponse])
    assert_type(trainer.load_state("tinker://a/weights/b"), ta.APIFuture[ta.LoadWeightsResponse])
    assert_type(trainer.save_weights_for_sampler("name"), ta.APIFuture[ta.SaveWeightsForSamplerResponse])
    assert_type(trainer.save_weights_and_get_sampling_client(), ta.SamplingClient)
    assert_type(trainer.policy("main", max_lag=2), ta.Policy)
    assert_type(trainer.get_info(), ta.GetInfoResponse)
    trainer.add_done_callback(lambda made: assert_type(made, ta.TrainingClient).barrier())
    trainer.step(data, "entropy")  # type: ignore[arg-type]
    trainer.save_state(name=1)  # type: ignore[arg-type]


async def training_twins(trainer: ta.TrainingClient, data: list[ta.Datum]) -> None:
    assert_type(await trainer, ta.TrainingClient)
    assert_type(await trainer.forward_backward_async(data, "cross_entropy"), ta.APIFuture[ta.ForwardBackwardOutput])
    assert_type(await trainer.optim_step_async(ta.AdamParams()), ta.APIFuture[ta.OptimStepResponse])
    assert_type(await trainer.step_async(data, loss_fn="ppo"), ta.APIFuture[StepResult])
    assert_type(await trainer.save_state_async("name", overwrite=True), ta.APIFuture[ta.SaveWeightsResponse])
    assert_type(await trainer.save_weights_and_get_sampling_client_async(), ta.SamplingClient)
    assert_type(await trainer.get_info_async(), ta.GetInfoResponse)
    await trainer.step_async(data, "entropy")  # type: ignore[arg-type]
    await trainer.save_state_async("name", overwrit=True)  # type: ignore[call-arg]


def sampling(source: ta.SamplingClient | ta.Policy, prompt: ta.ModelInput) -> None:
    assert_type(source.sample(prompt, 1, {"max_tokens": 4}), ta.APIFuture[ta.SampleResponse])
    assert_type(source.compute_logprobs(prompt), ta.APIFuture[list[float | None]])
    assert_type(source.get_base_model(), str)
    for index, response in source.map([prompt], 1, ta.SamplingParams()):
        assert_type(index, int)
        assert_type(response, ta.SampleResponse)
    for _, outcome in source.map([prompt], 1, ta.SamplingParams(), on_error="return"):
        assert_type(outcome, ta.SampleResponse | BaseException)
    source.sample(prompt, "1", {})  # type: ignore[arg-type]
    source.with_options(priority="high")  # type: ignore[arg-type]


async def sampling_twins(sampler: ta.SamplingClient, policy: ta.Policy, prompts: AsyncIterable[ta.ModelInput]) -> None:
    assert_type(sampler.with_options(retry=False), ta.SamplingClient)
    assert_type(sampler.get_sampler_handle(), str)
    assert_type(ta.SamplingClient.from_sampler_handle("handle", base_url="local:"), ta.SamplingClient)
    assert_type(policy.with_options(priority="eval").pin(), ta.PinnedPolicy)
    assert_type(policy.publish(), ta.APIFuture[int])
    assert_type(policy.weights_version, int | None)
    async for _, response in policy.map(prompts, 1, {}):
        assert_type(await sampler.sample_async([1, 2], 1, ta.SamplingParams()), ta.SampleResponse)
        assert_type(await policy.compute_logprobs_async(ta.ModelInput.from_ints([1])), list[float | None])
        assert_type(response.sequences[0].tokens, list[int])
    await sampler.sample_async([1, 2], 1, ta.SamplingParams(), include=True)  # type: ignore[call-arg]
    await sampler.sample_async("text", 1, ta.SamplingParams())  # type: ignore[arg-type]


def results(response: ta.SampleResponse, output: ta.ForwardBackwardOutput, tensor: ta.TensorData) -> None:
    sequence = response.sequences[0]
    assert_type(sequence.stop_reason, Literal["length", "stop"])
    assert_type(sequence.logprobs, list[float] | None)
    assert_type(sequence.tokens_np, npt.NDArray[np.int32])
    assert_type(response.topk_prompt_logprobs, list[TopkLogprobs | None] | None)
    assert_type(output.loss_fn_outputs[0]["logprobs"], ta.TensorData)
    assert_type(output.metrics, dict[str, float])
    assert_type(tensor.data, list[int] | list[float])
    assert_type(tensor.shape, list[int] | None)


def proxies(client: ta.ServiceClient, data: list[ta.Datum]) -> None:
    proxy = client.proxy()
    made = proxy.create_lora_training_client("local/tiny", rank=8)
    assert_type(made, ta.APIFuture[ta.TrainingClient])
    trainer = made.get(timeout=1).proxy()
    assert_type(trainer, ta.TrainingProxy)
    assert_type(trainer.step(data, "cross_entropy"), ta.APIFuture[StepResult])
    assert_type(trainer.get_info(), ta.APIFuture[ta.GetInfoResponse])
    assert_type(trainer.policy("main"), ta.APIFuture[ta.Policy])
    sampler = trainer.save_weights_and_get_sampling_client().get().proxy()
    assert_type(sampler, ta.SamplingProxy)
    assert_type(sampler.sample([1, 2], 1, {}), ta.APIFuture[ta.SampleResponse])
    assert_type(sampler.compute_logprobs([1, 2]), ta.APIFuture[list[float | None]])
    assert_type(trainer.policy("main").get().proxy().publish(), ta.APIFuture[int])
    sampler.sample.defer([1], 1, {})
    proxy.create_lora_training_client("local/tiny", rnak=8)  # type: ignore[call-arg]
    sampler.sample("text", 1, {})  # type: ignore[arg-type]
    trainer.barier()  # type: ignore[attr-defined]


def inputs(data_type: ta.TensorDtype, loss: ta.LossFnType, stop: ta.StopReason) -> None:
    chunks: list[ta.ModelInputChunk] = [
        ta.EncodedTextChunk([1, 2]),
        ta.ImageChunk(b"bytes", "png"),
        ta.ImageAssetPointerChunk("file://image", "jpeg"),
    ]
    assert_type(ta.ModelInput(chunks).length, int)
    assert_type(ta.types.ModelInput.from_ints([1]), ta.ModelInput)
    assert_type(ta.TensorData([1], data_type).to_numpy(), npt.NDArray[Any])
    assert_type(ta.ParsedCheckpointTinkerPath.from_tinker_path("tinker://a/weights/b").training_run_id, str)
    assert_type(ta.LoraConfig(rank=4).seed, int | None)
    assert_type(loss == "ppo" or stop == "length", bool)
    ta.LoraConfig(rank="4")  # type: ignore[arg-type]
    ta.AdamParams(learning_rte=1.0)  # type: ignore[call-arg]
    ta.Config(tags="one")  # type: ignore[arg-type]


def more_proxies(client: ta.ServiceProxy, policy: ta.PolicyProxy, pin: ta.PinnedPolicyProxy) -> None:
    assert_type(client.get_server_capabilities(), ta.APIFuture[ta.GetServerCapabilitiesResponse])
    assert_type(policy.pin(), ta.APIFuture[ta.PinnedPolicy])
    assert_type(pin.sample([1], 1, {}), ta.APIFuture[ta.SampleResponse])
    assert_type(pin.map([[1]], 1, {}), ta.APIFuture[ta.FanOut[ta.SampleResponse]])


def step(result: ta.StepResult) -> None:
    assert_type(result.loss_per_token, float | None)


def errors(error: ta.TinkerError) -> None:
    assert_type(error.message, str)
    assert_type(error.request_id, str | None)
    assert_type(error.retryable, bool)
    assert_type(error.category, Literal["unknown", "server", "user"])
    match error:
        case ta.PrecedingOperationFailed() | ta.StepTaintedError():
            assert_type(error.preceding, BaseException | None)
        case ta.RateLimitError() | ta.QueueFullError() | ta.APITimeoutError() | ta.InternalServerError():
            assert_type(error.attempts, int)
        case _:
            pass
    server: list[type[ta.APIStatusError]] = [
        ta.AuthenticationError,
        ta.BadRequestError,
        ta.BillingError,
        ta.ConflictError,
        ta.NotFoundError,
        ta.PermissionDeniedError,
        ta.UnprocessableEntityError,
    ]
    runtime: list[type[ta.TinkerError]] = [
        ta.APIConnectionError,
        ta.APIError,
        ta.APIResponseValidationError,
        ta.ActorCrashedError,
        ta.ClientClosedError,
        ta.ConfigError,
        ta.DeadlineExceededError,
        ta.ForkedError,
        ta.InvalidInputError,
        ta.OutcomeUnknownError,
        ta.RequestFailedError,
        ta.SamplerLostError,
        ta.SessionLostError,
        ta.StalledError,
        ta.WouldDeadlockError,
    ]
    assert_type(len(server) + len(runtime), int)
