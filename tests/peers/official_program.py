"""A whole program written for the official SDK, run by it, against whatever server TINKER_BASE_URL names.

Prints one JSON line: what it saw. Any failure is an exception. The same program runs under every version of the SDK;
the few places where their interfaces differ look at the version.
"""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from importlib.metadata import version

import numpy as np
import tinker
from tinker import types

VERSION = tuple(int(part) for part in version("tinker").split(".")[:2])
NEW = VERSION >= (0, 38)
BASE = "local/tiny"
TEXTS = ["hello => ellohay", "world => orldway", "tinker => inkertay", "actor => actoray"]
MANY = 1100  # more than fit in one request
LOSSES = {"importance_sampling": None, "ppo": {"clip_low_threshold": 0.8, "clip_high_threshold": 1.2}}


def tokens(text):
    return list(text.encode())


def datum(text):
    ids = tokens(text)
    return types.Datum(
        model_input=types.ModelInput.from_ints(ids[:-1]),
        loss_fn_inputs={"target_tokens": ids[1:], "weights": [1.0] * (len(ids) - 1)},
    )


DATA = [datum(text) for text in TEXTS]


def custom_loss(_data, logprobs):
    import torch

    loss = -sum(torch.as_tensor(each).sum() for each in logprobs)
    return loss, {"nll": float(loss.detach())}


async def settled(submitted):
    return await (await submitted).result_async()


async def error_of(done, kind):
    try:
        await done
    except kind as error:
        return error
    raise AssertionError(f"no {kind} came")


# ---------------------------------------------------------------- training


async def step(trainer, rate=1e-2):
    gradient = await trainer.forward_backward_async(DATA, "cross_entropy")
    optimizer = await trainer.optim_step_async(types.AdamParams(learning_rate=rate))
    loss = (await gradient.result_async()).metrics["loss:sum"]
    await optimizer.result_async()
    return loss


async def loss_of(trainer):
    return (await settled(trainer.forward_async(DATA, "cross_entropy"))).metrics["loss:sum"]


async def train(service, seen):
    trainer = await service.create_lora_training_client_async(
        base_model=BASE, rank=8, seed=1, user_metadata={"purpose": "judge"}
    )
    seen["model_id"] = trainer.model_id
    assert (await trainer.get_info_async()).model_data.model_name == BASE
    seen["losses"] = losses = [await step(trainer) for _ in range(10)]
    assert losses[-1] < 0.6 * losses[0], losses
    await many_at_once(trainer)
    before = await loss_of(trainer)
    custom = await settled(trainer.forward_backward_custom_async(DATA, custom_loss))
    await settled(trainer.optim_step_async(types.AdamParams(learning_rate=1e-3)))
    assert await loss_of(trainer) < before
    assert abs(custom.metrics["nll"] - before) < 1e-2
    for loss, config in LOSSES.items():
        await policy_step(trainer, loss, config)
    await refused(trainer)
    return trainer


async def many_at_once(trainer):
    few = await settled(trainer.forward_async(DATA, "cross_entropy"))
    assert len(few.loss_fn_outputs) == len(DATA)
    assert few.loss_fn_outputs[0]["logprobs"].to_numpy().shape == (len(TEXTS[0]) - 1,)
    data = [DATA[index % len(DATA)] for index in range(MANY)]
    output = await settled(trainer.forward_async(data, "cross_entropy"))
    assert len(output.loss_fn_outputs) == MANY
    for index, each in enumerate(output.loss_fn_outputs):
        expected = few.loss_fn_outputs[index % len(DATA)]["logprobs"].to_numpy()
        np.testing.assert_allclose(each["logprobs"].to_numpy(), expected, atol=1e-4)
    assert np.isclose(output.metrics["loss:sum"], few.metrics["loss:sum"] * MANY / len(DATA), rtol=1e-4)


async def policy_step(trainer, loss, config):
    ids = tokens(TEXTS[0])
    count = len(ids) - 1
    inputs = {
        "target_tokens": types.TensorData.from_numpy(np.array(ids[1:], np.int64)),
        "logprobs": types.TensorData.from_numpy(np.full(count, -2.0, np.float32)),
        "advantages": types.TensorData.from_numpy(np.linspace(-1, 1, count).astype(np.float32)),
    }
    example = types.Datum(model_input=types.ModelInput.from_ints(ids[:-1]), loss_fn_inputs=inputs)
    output = await settled(trainer.forward_backward_async([example], loss, config))
    assert np.isfinite(output.metrics["loss:sum"])
    await settled(trainer.optim_step_async(types.AdamParams(learning_rate=1e-4)))


async def refused(trainer):
    """A request that can't be done fails with the server's words, and the client goes on."""
    outside = types.Datum(
        model_input=types.ModelInput.from_ints([1]), loss_fn_inputs={"target_tokens": [10**6], "weights": [1.0]}
    )
    error = await error_of(settled(trainer.forward_async([outside], "cross_entropy")), tinker.RequestFailedError)
    assert "1000000" in str(error), error
    assert np.isfinite(await loss_of(trainer))


async def after_a_bad_batch(service):
    """A batch that fails, at the door or in the engine, costs that batch: the next ones train, and nothing is lost."""
    trainer = await service.create_lora_training_client_async(base_model=BASE, rank=4, seed=3)
    untouched = await service.create_lora_training_client_async(base_model=BASE, rank=4, seed=3)
    outside = types.Datum(
        model_input=types.ModelInput.from_ints([1]), loss_fn_inputs={"target_tokens": [10**6], "weights": [1.0]}
    )
    lacking = types.Datum(model_input=types.ModelInput.from_ints([1]), loss_fn_inputs={"target_tokens": [1]})
    for data, loss, kind in (
        ([outside], "cross_entropy", tinker.RequestFailedError),
        ([*DATA, outside], "cross_entropy", tinker.RequestFailedError),
        ([lacking], "ppo", (tinker.APIStatusError, tinker.RequestFailedError)),
    ):
        await error_of(settled(trainer.forward_backward_async(data, loss)), kind)
        # At once, without anything in between: what was told stops nothing.
        assert await step(trainer) == await step(untouched)
    # Earlier gradients of the step count, for who was told.
    for data, loss, kind in (
        ([outside], "cross_entropy", tinker.RequestFailedError),
        ([lacking], "ppo", (tinker.APIStatusError, tinker.RequestFailedError)),
    ):
        await settled(trainer.forward_backward_async(DATA, "cross_entropy"))
        await error_of(settled(trainer.forward_backward_async(data, loss)), kind)
        await settled(trainer.optim_step_async(types.AdamParams(learning_rate=1e-2)))
        await step(untouched)
        assert await loss_of(trainer) == await loss_of(untouched)
    # A batch that is cut into several requests, of which the last one fails: nothing of it is applied.
    many = [*[DATA[index % len(DATA)] for index in range(MANY)], outside]
    await error_of(settled(trainer.forward_backward_async(many, "cross_entropy")), tinker.RequestFailedError)
    if NEW:  # older versions send its parts like calls of their own
        assert await step(trainer) == await step(untouched)
    else:
        await error_of(
            settled(trainer.optim_step_async(types.AdamParams(learning_rate=1e-2))), tinker.RequestFailedError
        )
    assert await loss_of(trainer) == await loss_of(untouched)
    # Nobody has looked at this one when the step is called: it is not applied, and the model is as before.
    bad = await trainer.forward_backward_async([outside], "cross_entropy")
    ignorant = await trainer.optim_step_async(types.AdamParams(learning_rate=1e-2))
    await error_of(bad.result_async(), tinker.RequestFailedError)
    await error_of(ignorant.result_async(), tinker.RequestFailedError)
    assert await loss_of(trainer) == await loss_of(untouched)
    assert await step(trainer) == await step(untouched)
    assert (await settled(trainer.save_state_async("rescue"))).path


async def save_and_resume(service, trainer, seen):
    seen["path"] = path = (await settled(trainer.save_state_async("half-way"))).path
    seen["sampler_path"] = (await settled(trainer.save_weights_for_sampler_async("for-sampling"))).path
    resumed = await service.create_training_client_from_state_with_optimizer_async(path)
    assert await loss_of(resumed) == await loss_of(trainer)
    # With the optimizer's state both go the same way from here; without it they do not.
    assert await step(resumed) == await step(trainer)
    expected = await loss_of(trainer)
    assert await loss_of(resumed) == expected
    fresh = await service.create_training_client_from_state_async(path)
    await step(fresh)
    assert await loss_of(fresh) != expected
    await settled(trainer.load_state_with_optimizer_async(path))
    await step(trainer)
    assert await loss_of(trainer) == expected
    await settled(trainer.load_state_async(path))
    return await trainer.save_weights_and_get_sampling_client_async()


# ---------------------------------------------------------------- sampling


async def sample(service, ephemeral, seen):
    prompt = types.ModelInput.from_ints(tokens("hello =>"))
    named = await service.create_sampling_client_async(model_path=seen["sampler_path"])
    base = await service.create_sampling_client_async(base_model=BASE)
    greedy = types.SamplingParams(max_tokens=8, temperature=0.0, stop="\n")
    for sampler in (ephemeral, named, base):
        response = await sampler.sample_async(prompt, 2, greedy)
        assert len(response.sequences) == 2
        assert list(response.sequences[0].tokens) == list(response.sequences[1].tokens)
        assert len(response.sequences[0].logprobs) == len(response.sequences[0].tokens)
    for stop in (None, [], ["a", "e"], [10], "way"):
        params = types.SamplingParams(max_tokens=12, seed=3, stop=stop, temperature=0.7, top_k=20, top_p=0.9)
        first, second = [await ephemeral.sample_async(prompt, 1, params) for _ in range(2)]
        assert list(first.sequences[0].tokens) == list(second.sequences[0].tokens)
        if stop == []:
            assert first.sequences[0].stop_reason == "length"
    await scores(ephemeral, prompt)
    if NEW:
        await scores_of_new_versions(ephemeral, prompt)
    many = await asyncio.gather(*[ephemeral.sample_async(prompt, 1, greedy) for _ in range(50)])
    assert len({tuple(response.sequences[0].tokens) for response in many}) == 1
    seen["completion"] = bytes(many[0].sequences[0].tokens).decode("utf-8", "replace")


async def scores(sampler, prompt):
    scored = await sampler.sample_async(
        prompt, 3, types.SamplingParams(max_tokens=5, seed=1), include_prompt_logprobs=True, topk_prompt_logprobs=3
    )
    assert scored.prompt_logprobs[0] is None
    assert len(scored.prompt_logprobs) == len(scored.topk_prompt_logprobs) == prompt.length
    assert scored.topk_prompt_logprobs[0] is None
    for row in scored.topk_prompt_logprobs[1:]:
        ranked = [logprob for _, logprob in row]
        assert len(ranked) == 3
        assert ranked == sorted(ranked, reverse=True)
    for sequence in scored.sequences:
        whole = types.ModelInput.from_ints([*prompt.to_ints(), *sequence.tokens])
        logprobs = await sampler.compute_logprobs_async(whole)
        assert logprobs[0] is None
        np.testing.assert_allclose(logprobs[1 : prompt.length], scored.prompt_logprobs[1:], atol=1e-4)
        np.testing.assert_allclose(logprobs[prompt.length :], sequence.logprobs, atol=1e-4)


async def scores_of_new_versions(sampler, prompt):
    ids = prompt.to_ints()
    rows = len(ids) - 1
    targets = np.stack([ids[1:], np.full(rows, -1)], axis=1).astype(np.int64)
    layouts = [
        types.TensorData.from_numpy(targets),
        types.TensorData(data=ids[1:], dtype="int64", shape=[rows, 2], sparse_crow_indices=list(range(rows + 1)),
                         sparse_col_indices=[0] * rows),
    ]  # fmt: skip
    every = await sampler.compute_logprobs_async(prompt)
    for layout in layouts:
        scored = await sampler.sample_async(
            prompt, 1, types.SamplingParams(max_tokens=3, seed=1), include_prompt_logprobs=True,
            topk_sample_logprobs=2, prompt_logprobs_last_n=3, target_prompt_logprobs=layout,
        )  # fmt: skip
        assert scored.prompt_logprobs[:-3] == [None] * (len(ids) - 3)
        np.testing.assert_allclose(scored.prompt_logprobs[-3:], every[-3:], atol=1e-4)
        (sequence,) = scored.sequences
        assert [len(row) for row in sequence.topk_logprobs] == [2] * len(sequence.tokens)
        assert sequence.sequence_id
        target = scored.target_prompt_logprobs
        assert (target.sparse_crow_indices, target.shape) == (layout.sparse_crow_indices, [rows, 2])
        found = target.to_numpy() if target.sparse_crow_indices is None else np.stack([target.data, np.zeros(rows)], 1)
        np.testing.assert_allclose(found[:, 0], every[1:], atol=1e-4)
        assert not found[:, 1].any()
    tail = await sampler.compute_logprobs_async(prompt, prompt_logprobs_last_n=2)
    assert tail[:-2] == [None] * (len(ids) - 2)
    again = tinker.SamplingClient.from_sampler_handle(sampler.get_sampler_handle())
    greedy = types.SamplingParams(max_tokens=4, temperature=0.0)
    one, other = [await each.sample_async(prompt, 1, greedy) for each in (sampler, again)]
    assert list(one.sequences[0].tokens) == list(other.sequences[0].tokens)


# ---------------------------------------------------------------- REST


async def checkpoints(service, seen):
    rest = service.create_rest_client()
    run, path = seen["model_id"], seen["path"]
    listed = await rest.list_checkpoints_async(run)
    seen["checkpoints"] = ids = sorted(checkpoint.checkpoint_id for checkpoint in listed.checkpoints)
    assert ids == ["sampler_weights/for-sampling", "weights/half-way"], ids
    mine = await rest.list_user_checkpoints_async()
    assert {path, seen["sampler_path"]} <= {checkpoint.tinker_path for checkpoint in mine.checkpoints}
    await runs_and_sessions(rest, run, path)
    for change, field, value in (
        (rest.publish_checkpoint_from_tinker_path_async(path), "public", True),
        (rest.unpublish_checkpoint_from_tinker_path_async(path), "public", False),
        (rest.set_checkpoint_ttl_from_tinker_path_async(path, 7200), "expires_at", ...),
        (rest.set_checkpoint_ttl_from_tinker_path_async(path, None), "expires_at", None),
    ):
        await change
        found = getattr(await checkpoint_at(rest, run, path), field)
        assert found == value or (value is ... and found is not None), (field, found)
    if hasattr(rest, "get_checkpoint_archive_url_from_tinker_path_async"):
        archive = await rest.get_checkpoint_archive_url_from_tinker_path_async(path)
        assert fetched(archive.url)[:2] == b"\x1f\x8b"  # gzip
    if NEW:
        assert (await rest.copy_weights(path, destination_project_id="judge")).startswith("tinker://")
    await rest.delete_checkpoint_from_tinker_path_async(path)
    left = await rest.list_checkpoints_async(run)
    assert [checkpoint.checkpoint_id for checkpoint in left.checkpoints] == ["sampler_weights/for-sampling"]
    error = await error_of(service.create_sampling_client_async(model_path=path), tinker.APIStatusError)
    assert error.status_code in (400, 404), error


async def checkpoint_at(rest, run, path):
    listed = await rest.list_checkpoints_async(run)
    return next(checkpoint for checkpoint in listed.checkpoints if checkpoint.tinker_path == path)


async def runs_and_sessions(rest, run, path):
    runs = await rest.list_training_runs_async()
    assert run in [each.training_run_id for each in runs.training_runs]
    for found in (await rest.get_training_run_async(run), await rest.get_training_run_by_tinker_path_async(path)):
        assert (found.training_run_id, found.base_model, found.lora_rank) == (run, BASE, 8)
        assert found.user_metadata == {"purpose": "judge"}
    info = await rest.get_weights_info_by_tinker_path(path)
    assert (info.base_model, info.is_lora, info.lora_rank) == (BASE, True, 8)
    session_id = run.partition(":")[0]
    assert session_id in (await rest.list_sessions_async()).sessions
    session = await rest.get_session_async(session_id)
    assert run in session.training_run_ids
    sampler = await rest.get_sampler(session.sampler_ids[0])
    assert sampler.base_model == BASE


def fetched(url):
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=60) as response:
        return response.read()


# ---------------------------------------------------------------- all of it


def without_asyncio(service):
    """The same calls from a program that knows no event loop."""
    trainer = made(service.create_lora_training_client(base_model=BASE, rank=4, seed=2))
    gradients = [trainer.forward_backward(DATA, "cross_entropy") for _ in range(2)]
    optimizer = trainer.optim_step(types.AdamParams(learning_rate=1e-2))
    first, second = [gradient.result().metrics["loss:sum"] for gradient in gradients]
    assert first == second
    optimizer.result()
    sampler = made(trainer.save_weights_and_get_sampling_client())
    prompt = types.ModelInput.from_ints([1, 2, 3])
    assert sampler.sample(prompt, 2, types.SamplingParams(max_tokens=2)).result().sequences[1].tokens is not None
    assert len(sampler.compute_logprobs(prompt).result()) == 3


def made(client):
    """Newer versions return a future of a client where older ones return the client."""
    return client.result() if hasattr(client, "result") else client


async def all_of_it(service):
    seen = {"sdk": version("tinker")}
    capabilities = await service.get_server_capabilities_async()
    assert BASE in [model.model_name for model in capabilities.supported_models]
    trainer = await train(service, seen)
    await after_a_bad_batch(service)
    ephemeral = await save_and_resume(service, trainer, seen)
    await sample(service, ephemeral, seen)
    await checkpoints(service, seen)
    return seen


def main():
    service = tinker.ServiceClient(user_metadata={"purpose": "judge"})
    seen = asyncio.run(all_of_it(service))
    without_asyncio(service)
    if hasattr(service, "close"):
        service.close("success")
    sys.stdout.write(json.dumps(seen) + "\n")


if __name__ == "__main__":
    main()
