"""Sampling: agreement with the forward pass, seeds, stops, limits, prompt scores, cancellation."""

from __future__ import annotations

import numpy as np
import pytest

from tinker_actors.local.engine.data import Datum
from tinker_actors.local.engine.decoder import Decoder
from tinker_actors.local.engine.lora import Adapter
from tinker_actors.local.engine.sampler import sample
from tinker_actors.local.engine.sampling import SampleRequest
from tinker_actors.local.engine.scoring import top_tokens


def request(prompt=(1, 2, 3), **settings):
    return SampleRequest(prompt=np.array(prompt), **{"max_tokens": 8, "seed": 5, "stop": (), **settings})


@pytest.fixture
def model(make_base, make_model):
    return make_model(make_base(np.float32, eos_token_ids=(16,)))


@pytest.fixture
def run(model):
    """Sample from the model in training; results in order."""

    def run(*requests, **options):
        return sample(model.base, model.snapshot(), requests, **options)

    return run


def tokens(result):
    return [sequence.tokens.tolist() for sequence in result.sequences]


def forward_logprobs(model, prompt, completion):
    ids = np.concatenate([prompt, completion])
    (logprobs,) = model.forward([Datum(ids[:-1], ids[1:])], "cross_entropy").logprobs
    return logprobs


@pytest.mark.parametrize(
    "flags", [{}, {"qk_norm": True, "n_kv_heads": 1}, {"attention_bias": True, "tie_embeddings": True}]
)
@pytest.mark.parametrize("rank", [1, 8])
def test_logprobs_equal_those_of_the_forward_pass(make_base, make_model, flags, rank):
    """Also while sequences of different lengths share a batch, leave it one by one, and outgrow the cache."""
    model = make_model(make_base(np.float32, **flags), rank=rank)
    requests = [
        request(prompt=np.arange(1 + 3 * i) % 17, num_samples=1 + i % 3, max_tokens=24 - 5 * i, temperature=1.3)
        for i in range(4)
    ]
    for wanted, result in zip(requests, sample(model.base, model.snapshot(), requests), strict=True):
        assert len(result.sequences) == wanted.num_samples
        for sequence in result.sequences:
            assert sequence.tokens.dtype == np.int32
            assert sequence.logprobs.dtype == np.float32
            assert len(sequence.tokens) == wanted.max_tokens
            expected = forward_logprobs(model, wanted.prompt, sequence.tokens)[len(wanted.prompt) - 1 :]
            np.testing.assert_allclose(sequence.logprobs, expected, atol=1e-4)


def test_without_an_adapter_the_base_model_itself_samples(model):
    (base_result,) = sample(model.base, None, [request(max_tokens=16)])
    adapter = {name: np.zeros_like(array) for name, array in model.state().adapter.items()}
    (adapted,) = sample(model.base, model.snapshot(), [request(max_tokens=16)])
    model.load_state(adapter)
    (zeroed,) = sample(model.base, model.snapshot(), [request(max_tokens=16)])
    assert tokens(base_result) == tokens(zeroed)
    assert tokens(base_result) != tokens(adapted)


def test_no_temperature_takes_the_most_probable_token_each_time(model, run):
    (result,) = run(request(temperature=0.0, num_samples=2))
    first, second = tokens(result)
    assert first == second
    ids = np.array([1, 2, 3, *first])
    for i in range(3, len(ids)):
        scores = [forward_logprobs(model, ids[:i], [candidate])[-1] for candidate in range(17)]
        assert int(np.argmax(scores)) == ids[i]


def test_top_k_of_one_is_greedy_whatever_the_seed(run):
    (greedy,) = run(request(temperature=0.0))
    for seed in range(5):
        (narrow,) = run(request(top_k=1, seed=seed, temperature=2.0))
        assert tokens(narrow) == tokens(greedy)


def test_a_tiny_top_p_is_greedy(run):
    (greedy,), (narrow,) = run(request(temperature=0.0)), run(request(top_p=1e-6))
    assert tokens(narrow) == tokens(greedy)


def test_a_seed_repeats_tokens_whatever_else_is_in_the_batch(run):
    wanted = request(num_samples=3, max_tokens=12)
    (alone,) = run(wanted)
    others = [request(prompt=np.arange(n) % 17, seed=None, max_tokens=n) for n in range(1, 20)]
    *_, among = run(*others, wanted)
    assert tokens(among) == tokens(alone)
    for one, other in zip(alone.sequences, among.sequences, strict=True):
        np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-5)


def test_samples_of_one_seed_and_of_different_seeds_differ(run):
    first, second = run(request(num_samples=3, max_tokens=16), request(num_samples=3, max_tokens=16, seed=-6))
    assert len({tuple(row) for row in tokens(first) + tokens(second)}) == 6


def test_without_a_seed_samples_do_not_repeat(run):
    first, second = run(request(seed=None, max_tokens=20), request(seed=None, max_tokens=20))
    assert tokens(first) != tokens(second)


def test_a_stop_token_ends_a_completion_and_is_part_of_it(run):
    (free,) = run(request(max_tokens=20))
    (whole,) = tokens(free)
    assert free.sequences[0].stop_reason == "length"
    stop = whole[6]
    (stopped,) = run(request(max_tokens=20, stop=((stop,),)))
    assert tokens(stopped) == [whole[: whole.index(stop) + 1]]
    assert stopped.sequences[0].stop_reason == "stop"


def test_a_stop_string_ends_a_completion(run):
    def letters(ids):
        return "".join(chr(97 + token) for token in ids)

    (free,) = run(request(max_tokens=20))
    whole = letters(tokens(free)[0])
    stop = whole[7:10]
    (stopped,) = run(request(max_tokens=20, stop=(stop,)), detokenise=letters)
    assert letters(tokens(stopped)[0]) == whole[: whole.index(stop) + 3]
    assert stopped.sequences[0].stop_reason == "stop"


def test_the_models_own_end_counts_only_if_no_stop_is_given(run):
    settings = {"num_samples": 40, "max_tokens": 20}
    default, never = run(request(**settings, stop=None), request(**settings, stop=()))
    ended = [sequence for sequence in default.sequences if sequence.stop_reason == "stop"]
    assert ended
    assert all(sequence.tokens[-1] == 16 and 16 not in sequence.tokens[:-1] for sequence in ended)
    assert all(16 not in sequence.tokens for sequence in default.sequences if sequence.stop_reason == "length")
    assert {len(sequence.tokens) for sequence in never.sequences} == {20}
    assert any(16 in sequence.tokens[:-1] for sequence in never.sequences)


@pytest.mark.parametrize("max_tokens", [None, 1000])
def test_the_context_limits_a_completion(run, max_tokens):
    prompts = [np.ones(length, int) for length in (3, 31, 32)]
    results = run(*(request(prompt=prompt, max_tokens=max_tokens) for prompt in prompts))
    assert [len(result.sequences[0].tokens) for result in results] == [29, 1, 1]
    assert {result.sequences[0].stop_reason for result in results} == {"length"}


def test_prompt_logprobs_are_those_of_the_forward_pass_and_the_first_is_none(model, run):
    prompts = [np.array([4, 4, 9, 1, 0, 16]), np.array([3]), np.array([5, 6])]
    for prompt, result in zip(
        prompts, run(*(request(prompt, prompt_logprobs=True) for prompt in prompts)), strict=True
    ):
        assert result.prompt_logprobs[0] is None
        assert len(result.prompt_logprobs) == len(prompt)
        assert result.topk_prompt_logprobs is None
        if len(prompt) > 1:
            expected = forward_logprobs(model, prompt[:1], prompt[1:])
            np.testing.assert_allclose(result.prompt_logprobs[1:], expected, atol=1e-4)


def test_the_best_tokens_of_a_prompt_are_reported_in_order(run):
    prompt = np.array([4, 4, 9])
    every, some = run(
        request(prompt, prompt_logprobs=True, topk_prompt_logprobs=17), request(prompt, topk_prompt_logprobs=2)
    )
    assert some.prompt_logprobs is None
    assert every.topk_prompt_logprobs[0] is None
    for position in (1, 2):
        ranked = every.topk_prompt_logprobs[position]
        assert [value for _, value in ranked] == sorted((value for _, value in ranked), reverse=True)
        assert sum(np.exp(value) for _, value in ranked) == pytest.approx(1, abs=1e-5)
        assert dict(ranked)[prompt[position]] == pytest.approx(every.prompt_logprobs[position], abs=1e-6)
        assert [token for token, _ in some.topk_prompt_logprobs[position]] == [token for token, _ in ranked[:2]]


@pytest.mark.parametrize("others", [0, 3])
def test_a_prompt_that_fills_the_context_can_be_scored(model, run, others):
    prompt = np.arange(32) % 17
    rest = [request(max_tokens=10) for _ in range(others)]
    result = run(request(prompt, max_tokens=1, prompt_logprobs=True), *rest)[0]
    np.testing.assert_allclose(result.prompt_logprobs[1:], forward_logprobs(model, prompt[:1], prompt[1:]), atol=1e-4)
    assert len(result.sequences[0].tokens) == 1


@pytest.mark.parametrize("last_n", [1, 2, 5])
def test_the_last_positions_of_a_prompt_alone_can_be_scored(run, last_n):
    prompt = np.array([4, 4, 9, 1, 0, 16])
    whole, some = run(
        request(prompt, prompt_logprobs=True, topk_prompt_logprobs=3),
        request(prompt, prompt_logprobs=True, topk_prompt_logprobs=3, prompt_logprobs_last_n=last_n),
    )
    left_out = [None] * (6 - last_n)
    assert some.prompt_logprobs[:-last_n] == some.topk_prompt_logprobs[:-last_n] == left_out
    assert some.prompt_logprobs[-last_n:] == pytest.approx(whole.prompt_logprobs[-last_n:], abs=1e-5)
    found, expected = ([[t for t, _ in row] for row in r.topk_prompt_logprobs[-last_n:]] for r in (some, whole))
    assert found == expected


def test_any_tokens_of_a_prompts_positions_can_be_scored(run):
    prompt = np.array([4, 4, 9, 1])
    targets = np.array([[-1, -1, -1], [3, -1, 16], [-1, 0, 1]])
    every, result, bare = run(
        request(prompt, topk_prompt_logprobs=17),
        request(prompt, target_prompt_logprobs=targets, prompt_logprobs=True, prompt_logprobs_last_n=1),
        request(prompt, target_prompt_logprobs=targets[:, :0]),
    )
    scored = result.target_prompt_logprobs
    assert (scored.dtype, scored.shape) == (np.float32, (3, 3))
    tables = [dict(row) for row in every.topk_prompt_logprobs[1:]]
    for (row, column), target in np.ndenumerate(targets):
        expected = 0.0 if target < 0 else tables[row][target]
        assert scored[row, column] == pytest.approx(expected, abs=1e-5)
    assert result.prompt_logprobs[:3] == [None] * 3
    assert result.prompt_logprobs[3] == pytest.approx(tables[2][1], abs=1e-5)
    assert bare.target_prompt_logprobs.shape == (3, 0)


def test_the_best_tokens_at_each_draw_can_be_asked_for(run):
    first, other, plain = run(
        request(topk_sample_logprobs=3, num_samples=2), request(topk_sample_logprobs=17, top_k=1), request()
    )
    assert plain.sequences[0].topk_logprobs is None
    for sequence in first.sequences:
        assert [len(row) for row in sequence.topk_logprobs] == [3] * 8
    (sequence,) = other.sequences
    for token, logprob, row in zip(sequence.tokens, sequence.logprobs, sequence.topk_logprobs, strict=True):
        assert row[0] == (token, pytest.approx(logprob))
        assert [value for _, value in row] == sorted((value for _, value in row), reverse=True)
        assert sum(np.exp(value) for _, value in row) == pytest.approx(1, abs=1e-5)


def test_of_equally_probable_tokens_the_lower_ids_come_first():
    logprobs = np.log(np.array([[0.1, 0.3, 0.1, 0.3, 0.1, 0.1]]))
    for count, expected in ((1, [1]), (2, [1, 3]), (3, [1, 3, 0]), (4, [1, 3, 0, 2]), (6, [1, 3, 0, 2, 4, 5])):
        (row,) = top_tokens(logprobs, count)
        assert [token for token, _ in row] == expected


def test_no_requests_have_no_results(run):
    assert run() == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt": np.ones(33, int)}, "33 tokens, the model's context is 32"),
        ({"prompt": np.zeros(0, int)}, "at least one token id"),
        ({"prompt": [17]}, "id 17, outside the vocabulary of 17"),
        ({"num_samples": 0}, "num_samples must be at least 1, got 0"),
        ({"max_tokens": 0}, "max_tokens must be at least 1, got 0"),
        ({"temperature": -1.0}, "temperature .* got -1.0"),
        ({"temperature": float("nan")}, "temperature .* got nan"),
        ({"top_k": -2}, "top_k .* got -2"),
        ({"top_p": 0.0}, "top_p .* got 0.0"),
        ({"topk_prompt_logprobs": 18}, "topk_prompt_logprobs must be 0 to 17, got 18"),
        ({"topk_sample_logprobs": -1}, "topk_sample_logprobs must be 0 to 17, got -1"),
        ({"prompt_logprobs_last_n": 1}, "prompt_logprobs_last_n needs prompt_logprobs"),
        ({"prompt_logprobs": True, "prompt_logprobs_last_n": 3}, "must be 1 to 2 for this prompt, got 3"),
        ({"prompt_logprobs": True, "prompt_logprobs_last_n": 0}, "must be 1 to 2 for this prompt, got 0"),
        ({"target_prompt_logprobs": np.zeros((3, 1), int)}, r"shape \(3, 1\), a prompt of 3 tokens needs \(2, K\)"),
        ({"target_prompt_logprobs": np.zeros(2, int)}, r"shape \(2,\), a prompt of 3"),
        ({"target_prompt_logprobs": np.full((2, 1), 17)}, "contain id 17, outside the vocabulary of 17"),
        ({"target_prompt_logprobs": np.full((2, 1), -2)}, "contain id -2, outside the vocabulary of 17"),
        ({"target_prompt_logprobs": np.zeros((2, 1))}, "must be integers, got float64"),
        ({"stop": ("",)}, "a stop must not be empty"),
        ({"stop": ((99,),)}, "stop contain id 99"),
        ({"stop": ("x",)}, "stop strings need a tokenizer"),
    ],
)
def test_a_bad_request_is_refused_before_anything_is_sampled(run, settings, message):
    asked = []
    with pytest.raises(ValueError, match=f"request 1: .*{message}"):
        run(request(), request(**settings), should_stop=asked.append)
    assert asked == []


def test_a_request_that_is_no_longer_wanted_leaves_and_the_others_go_on(run):
    steps = []

    def should_stop(index):
        steps.append(index)
        return index == 1 and steps.count(1) == 4

    wanted = [request(max_tokens=16), request(max_tokens=16, num_samples=4), request(prompt=[8], max_tokens=16)]
    first, second, third = run(*wanted, should_stop=should_stop)
    assert second is None
    assert steps.count(1) == 4
    assert tokens(first) == tokens(run(wanted[0])[0])
    assert tokens(third) == tokens(run(wanted[2])[0])


def test_a_request_that_is_not_wanted_from_the_start_costs_nothing(run):
    assert run(request(), should_stop=lambda _: True) == [None]


def test_a_model_that_has_diverged_is_not_sampled_from(model):
    diverged = np.full_like(model._parameters, np.nan)  # no step and no checkpoint leads there
    with pytest.raises(ValueError, match="probabilities are not finite"):
        sample(model.base, Adapter(model._layout, diverged), [request()])


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_loaded(model, odd):
    before = model.state()
    (name, *_) = before.adapter
    adapter = {**before.adapter, name: np.full_like(before.adapter[name], odd)}
    with pytest.raises(ValueError, match="not finite"):
        model.load_state(adapter)
    with pytest.raises(ValueError, match="not finite"):
        Adapter.from_arrays(model.base.config, model.spec, adapter)
    for step in ([odd], [-1], [1, 2], []):
        with pytest.raises(ValueError, match="single number 'step'"):
            model.load_state(before.adapter, {**before.optimizer, "step": np.array(step)})
    for found, expected in zip(model.state().adapter.values(), before.adapter.values(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_request_may_join_while_others_are_being_continued(model, run):
    early, late = request(max_tokens=14, num_samples=3), request(prompt=[7, 7], max_tokens=14, num_samples=2)
    decoder = Decoder(model.base, model.snapshot())
    decoder.admit([(10, early)])
    found = {}
    for step in range(40):
        if step == 5:
            decoder.admit([(20, late)])
        found |= dict(decoder.step())
    assert not decoder.live
    assert tokens(found[10]) == tokens(run(early)[0])
    assert tokens(found[20]) == tokens(run(late)[0])
