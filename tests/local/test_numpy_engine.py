"""The numpy engine behind its port: it trains, saves, loads and samples; bad input is a ValueError."""

from __future__ import annotations

import numpy as np
import pytest

from tinker_actors.local.core.ports import Example, SampleTask
from tinker_actors.local.engine.tiny import EOS, TINY_NAME
from tinker_actors.local.numpy_engine import NumpyEngine
from tinker_actors.types.training import AdamParams, LoraConfig

LORA = LoraConfig(rank=4, seed=1)


@pytest.fixture(scope="module")
def engine():
    return NumpyEngine()


def example(text: str, **inputs: np.ndarray) -> Example:
    ids = np.frombuffer(text.encode(), np.uint8).astype(np.int64)
    return Example(ids[:-1], ids[1:], inputs)


def task(prompt: str = "ab", **changes: object) -> SampleTask:
    given = {
        "prompt": np.frombuffer(prompt.encode(), np.uint8).astype(np.int64),
        "num_samples": 1,
        "max_tokens": 4,
        "temperature": 0.0,
        "top_k": None,
        "top_p": 1.0,
        "seed": 1,
        "stop": (),
        "prompt_logprobs": False,
        "topk_prompt_logprobs": 0,
    }
    return SampleTask(**{**given, **changes})


def trained(engine):
    model = engine.create(TINY_NAME, LORA)
    losses = []
    for _ in range(25):
        losses.append(model.forward_backward([example("abcdefgh")], "cross_entropy", {}).metrics["loss:sum"])
        model.optim_step(AdamParams(learning_rate=0.003))
    return model, losses


def drawn(engine, weights, *tasks):
    decoding = engine.decoding(weights)
    return to_the_end(decoding, tasks, dict(decoding.admit(list(enumerate(tasks)))))


def to_the_end(decoding, tasks, outcomes):
    for _ in range(1000):
        if len(outcomes) == len(tasks):
            break
        outcomes.update(decoding.step())
    return [outcomes[index] for index in range(len(tasks))]


def test_it_learns_and_a_saved_model_draws_what_the_live_one_does(engine):
    model, losses = trained(engine)
    assert losses[-1] < losses[0] / 5
    (live,) = drawn(engine, model.snapshot(), task())
    assert bytes(live.completions[0].tokens) == b"cdef"
    adapter, optimizer = model.state()
    (saved,) = drawn(engine, engine.weights(TINY_NAME, LORA, adapter), task())
    assert saved.completions[0].tokens == live.completions[0].tokens
    model.forward_backward([example("zzz")], "cross_entropy", {})
    expected = model.optim_step(AdamParams())
    other = engine.create(TINY_NAME, LORA)
    other.load(adapter, optimizer)
    other.forward_backward([example("zzz")], "cross_entropy", {})
    assert other.optim_step(AdamParams()) == expected
    np.testing.assert_equal(other.state(), model.state())


def test_prompt_logprobs_are_those_of_a_forward_pass(engine):
    model, _ = trained(engine)
    (output,) = drawn(engine, model.snapshot(), task("abcdx", prompt_logprobs=True, topk_prompt_logprobs=3))
    passed = model.forward([example("abcdx")], "cross_entropy", {})
    assert output.prompt_logprobs[0] is None
    np.testing.assert_allclose(output.prompt_logprobs[1:], passed.logprobs[0], atol=1e-4)
    assert [None if row is None else len(row) for row in output.topk_prompt_logprobs] == [None, 3, 3, 3, 3]


def test_tasks_in_one_batch_succeed_fail_and_stop_for_themselves(engine):
    weights = engine.weights(TINY_NAME, None, None)
    decoding = engine.decoding(weights)
    (wrong,) = decoding.admit([(0, task()), (1, task(stop=("",))), (2, task("cd")), (3, task("ef"))])
    assert wrong[0] == 1
    assert isinstance(wrong[1], ValueError)
    decoding.step()
    decoding.drop([2, 77])
    outcomes = dict(item for _ in range(3) for item in decoding.step())
    assert sorted(outcomes) == [0, 3]
    assert outcomes[0].completions[0].tokens == drawn(engine, weights, task())[0].completions[0].tokens
    assert len(outcomes[3].completions[0].tokens) == 4
    assert decoding.step() == []


def test_what_is_drawn_so_far_can_be_seen(engine):
    weights = engine.weights(TINY_NAME, None, None)
    decoding = engine.decoding(weights)
    decoding.admit([(5, task(max_tokens=3))])
    seen = []
    for count in range(2):
        assert decoding.step() == []
        tokens, logprobs = decoding.drawn(5, count)
        assert len(tokens) == len(logprobs) == 1
        seen += tokens
    ((_, output),) = decoding.step()
    assert output.completions[0].tokens[:2] == seen
    assert decoding.drawn(5, 0) == ([], [])


def test_every_score_that_can_be_asked_for_comes_out(engine):
    weights = engine.weights(TINY_NAME, None, None)
    wanted = np.array([[98, 5], [-1, 99], [100, -1]])
    asked = {"prompt_logprobs": True, "prompt_logprobs_last_n": 2, "topk_sample_logprobs": 3}
    (output,) = drawn(engine, weights, task("abcd", target_prompt_logprobs=wanted, **asked))
    assert [value is None for value in output.prompt_logprobs] == [True, True, False, False]
    found = output.target_prompt_logprobs
    assert found.shape == (3, 2)
    assert (found == 0).tolist() == (wanted < 0).tolist()
    np.testing.assert_allclose(found[2, 0], output.prompt_logprobs[3], rtol=1e-6)
    (completion,) = output.completions
    assert [row[0] for row in completion.topk_logprobs] == list(
        zip(completion.tokens, completion.logprobs, strict=True)
    )


def test_text_is_that_of_the_models_own_tokenizer(engine):
    assert engine.text(TINY_NAME, list("grün".encode())[:3]) == "gr\ufffd"


def test_stop_strings_are_found_in_the_text(engine):
    model, _ = trained(engine)
    (output,) = drawn(engine, model.snapshot(), task(stop=("de", (EOS,))))
    assert bytes(output.completions[0].tokens) == b"cde"
    assert output.completions[0].stop_reason == "stop"


def test_a_forward_leaves_out_inputs_that_its_loss_does_not_take(engine):
    model = engine.create(TINY_NAME, LORA)
    extra = example("abc", advantages=np.ones(2))
    assert len(model.forward([extra], "cross_entropy", {}).logprobs) == 1
    with pytest.raises(ValueError, match="advantages"):
        model.forward_backward([extra], "cross_entropy", {})


@pytest.mark.parametrize("config", [{"clip_low_threshold": "0.8"}, {"clip_low_threshold": True}, {"nonsense": 1.0}])
def test_settings_that_are_no_numbers_or_unknown_are_refused(engine, config):
    data = [example("abc", logprobs=np.zeros(2), advantages=np.ones(2))]
    with pytest.raises(ValueError, match=r"clip_low_threshold|nonsense"):
        engine.create(TINY_NAME, LORA).forward_backward(data, "ppo", config)


def test_several_targets_per_position_are_each_scored_where_the_loss_takes_them(engine):
    model = engine.create(TINY_NAME, LORA)
    tokens, targets = np.array([97, 98]), np.array([[1, 2, 3], [4, 5, 6]])
    output = model.forward_backward([Example(tokens, targets, {})], "cross_entropy", {})
    single = [model.forward([Example(tokens, column, {})], "cross_entropy", {}).logprobs[0] for column in targets.T]
    np.testing.assert_allclose(output.logprobs[0], np.stack(single, axis=1), rtol=1e-5)
    assert output.metrics["loss:sum"] == pytest.approx(-np.sum(single), rel=1e-5)
    inputs = {name: np.zeros(targets.shape) for name in ("logprobs", "advantages")}
    with pytest.raises(ValueError, match="one target per position"):
        model.forward_backward([Example(tokens, targets, inputs)], "ppo", {})


@pytest.mark.parametrize(("count", "prompt", "most"), [(1, 3, 40), (4, 3, 300), (8, 100, 700), (2, 1900, 148)])
def test_samples_take_no_more_memory_than_is_said_of_their_tokens(engine, count, prompt, most):
    task = SampleTask(
        prompt=np.full(prompt, 7), num_samples=count, max_tokens=most, temperature=1.0, top_k=None, top_p=1.0, seed=0,
        stop=(), prompt_logprobs=False, topk_prompt_logprobs=0,
    )  # fmt: skip
    decoding = engine.decoding(engine.weights(TINY_NAME, None, None))
    assert decoding.admit([(0, task)]) == []
    largest = 0
    while not decoding.step():
        stores = decoding._decoder._cache._stores
        # What grows is there twice for a moment, a layer at a time.
        largest = max(largest, sum(array.nbytes for pair in stores for array in pair) + stores[0][0].nbytes * 2)
    info = engine.base_models[TINY_NAME]
    said = count * ((prompt + most) * info.token_bytes + info.sequence_bytes)
    assert 0.5 * said < largest < 1.2 * said + 64 * count * info.token_bytes
