"""A whole program written for the official SDK, run by it, against whatever server TINKER_BASE_URL names.

Prints one JSON line: what it saw. Any failure is an exception. The same program runs under every version of the SDK; the
few places where their interfaces differ look at the version.
"""

from __future__ import annotations

import asyncio
import json
import sys
from importlib.metadata import version

import numpy as np
import tinker
from tinker import types

VERSION = tuple(int(part) for part in version("tinker").split(".")[:2])
TEXTS = ["hello => ellohay", "world => orldway", "tinker => inkertay", "actor => actoray"]


def tokens(text: str) -> list[int]:
    return list(text.encode())


def datum(text: str) -> types.Datum:
    ids = tokens(text)
    return types.Datum(
        model_input=types.ModelInput.from_ints(ids[:-1]),
        loss_fn_inputs={"target_tokens": ids[1:], "weights": [1.0] * (len(ids) - 1)},
    )


def custom_loss(data, logprobs):
    import torch

    loss = -sum(torch.as_tensor(each).sum() for each in logprobs)
    return loss, {"nll": float(loss.detach())}


def rest_client(service):
    return service.create_rest_client()


async def train(service, seen):
    trainer = await service.create_lora_training_client_async(base_model="local/tiny", rank=8, seed=1)
    seen["model_id"] = trainer.model_id
    data = [datum(text) for text in TEXTS]
    losses = []
    for _ in range(10):
        gradient = await trainer.forward_backward_async(data, "cross_entropy")
        optimizer = await trainer.optim_step_async(types.AdamParams(learning_rate=1e-2))
        losses.append((await gradient.result_async()).metrics["loss:sum"])
        await optimizer.result_async()
    seen["losses"] = losses
    assert losses[-1] < 0.6 * losses[0], losses
    forward = await (await trainer.forward_async(data, "cross_entropy")).result_async()
    assert len(forward.loss_fn_outputs) == len(data)
    assert forward.loss_fn_outputs[0]["logprobs"].to_numpy().shape == (len(TEXTS[0]) - 1,)
    custom = await (await trainer.forward_backward_custom_async(data, custom_loss)).result_async()
    await (await trainer.optim_step_async(types.AdamParams(learning_rate=1e-3))).result_async()
    seen["custom"] = sorted(custom.metrics)
    for loss in ("importance_sampling", "ppo"):
        await policy_step(trainer, loss)
    saved = await (await trainer.save_state_async("half-way")).result_async()
    seen["path"] = saved.path
    sampler_path = (await (await trainer.save_weights_for_sampler_async("for-sampling")).result_async()).path
    seen["sampler_path"] = sampler_path
    resumed = await service.create_training_client_from_state_with_optimizer_async(saved.path)
    again = await (await resumed.forward_async(data, "cross_entropy")).result_async()
    here = await (await trainer.forward_async(data, "cross_entropy")).result_async()
    assert again.metrics["loss:sum"] == here.metrics["loss:sum"]
    await (await trainer.load_state_async(saved.path)).result_async()
    ephemeral = await trainer.save_weights_and_get_sampling_client_async()
    return ephemeral, sampler_path


async def policy_step(trainer, loss):
    ids = tokens(TEXTS[0])
    count = len(ids) - 1
    inputs = {
        "target_tokens": types.TensorData.from_numpy(np.array(ids[1:], np.int64)),
        "logprobs": types.TensorData.from_numpy(np.full(count, -2.0, np.float32)),
        "advantages": types.TensorData.from_numpy(np.linspace(-1, 1, count).astype(np.float32)),
    }
    example = types.Datum(model_input=types.ModelInput.from_ints(ids[:-1]), loss_fn_inputs=inputs)
    output = await (await trainer.forward_backward_async([example], loss)).result_async()
    assert np.isfinite(output.metrics["loss:sum"])
    await (await trainer.optim_step_async(types.AdamParams(learning_rate=1e-4))).result_async()


async def sample(service, ephemeral, sampler_path, seen):
    prompt = types.ModelInput.from_ints(tokens("hello =>"))
    named = await service.create_sampling_client_async(model_path=sampler_path)
    base = await service.create_sampling_client_async(base_model="local/tiny")
    greedy = types.SamplingParams(max_tokens=8, temperature=0.0, stop="\n")
    for sampler in (ephemeral, named, base):
        response = await sampler.sample_async(prompt, 2, greedy)
        assert len(response.sequences) == 2
        assert list(response.sequences[0].tokens) == list(response.sequences[1].tokens)
    for stop in (None, [], ["a", "e"], [10], "way"):
        params = types.SamplingParams(max_tokens=12, seed=3, stop=stop, temperature=0.7, top_k=20, top_p=0.9)
        first, second = [await ephemeral.sample_async(prompt, 1, params) for _ in range(2)]
        assert list(first.sequences[0].tokens) == list(second.sequences[0].tokens)
        if stop == []:
            assert first.sequences[0].stop_reason == "length"
    options = {"include_prompt_logprobs": True, "topk_prompt_logprobs": 3}
    if VERSION >= (0, 31):
        options |= {"topk_sample_logprobs": 2, "prompt_logprobs_last_n": 3}
    scored = await ephemeral.sample_async(prompt, 1, types.SamplingParams(max_tokens=3, seed=1), **options)
    assert len(scored.prompt_logprobs) == prompt.length
    assert scored.prompt_logprobs[-1] < 0
    assert len(scored.topk_prompt_logprobs[-1]) == 3
    logprobs = await ephemeral.compute_logprobs_async(prompt)
    assert logprobs[0] is None
    assert len(logprobs) == prompt.length
    many = await asyncio.gather(*[ephemeral.sample_async(prompt, 1, greedy) for _ in range(50)])
    assert len({tuple(response.sequences[0].tokens) for response in many}) == 1
    seen["completion"] = bytes(many[0].sequences[0].tokens).decode("utf-8", "replace")


async def checkpoints(service, seen):
    rest = rest_client(service)
    run = seen["model_id"]
    listed = await rest.list_checkpoints_async(run)
    ids = sorted(checkpoint.checkpoint_id for checkpoint in listed.checkpoints)
    assert ids == ["sampler_weights/for-sampling", "weights/half-way"], ids
    runs = await rest.list_training_runs_async()
    assert run in [each.training_run_id for each in runs.training_runs]
    await rest.delete_checkpoint_from_tinker_path_async(seen["path"])
    left = await rest.list_checkpoints_async(run)
    assert [checkpoint.checkpoint_id for checkpoint in left.checkpoints] == ["sampler_weights/for-sampling"]
    seen["checkpoints"] = ids


async def main() -> None:
    seen: dict = {"sdk": version("tinker")}
    service = tinker.ServiceClient(user_metadata={"purpose": "judge"})
    capabilities = await service.get_server_capabilities_async()
    assert "local/tiny" in [model.model_name for model in capabilities.supported_models]
    ephemeral, sampler_path = await train(service, seen)
    await sample(service, ephemeral, sampler_path, seen)
    await checkpoints(service, seen)
    if hasattr(service, "close"):
        service.close("success")
    print(json.dumps(seen))


if __name__ == "__main__":
    asyncio.run(main())
    sys.stdout.flush()
