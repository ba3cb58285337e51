"""Samples: what is asked for, what is refused, what comes back."""

from __future__ import annotations

import json

import pytest

from tinker_actors.local.core import Limits
from tinker_actors.local.ledger import CONTEXT_LENGTH, EOS, LEDGER_NAME, LedgerDecoding


@pytest.fixture
def sampler(driver):
    return driver.sampler()


def targets(data, dtype="int64", **rest):
    return {"target_prompt_logprobs": {"data": data, "dtype": dtype, **rest}}


def draw(driver, body):
    said = driver.good("asample", body)
    driver.work("sample")
    return said, driver.result(said["request_id"])


def test_each_sample_has_the_names_that_were_promised(driver, bodies, sampler):
    said, result = draw(driver, bodies.sample(sampler, num_samples=3))
    assert len(set(said["sample_sequence_ids"])) == 3
    assert [one["sequence_id"] for one in result["sequences"]] == said["sample_sequence_ids"]
    assert result["type"] == "sample"
    for sequence in result["sequences"]:
        assert len(sequence["tokens"]) == len(sequence["logprobs"]) == 4
        assert sequence["stop_reason"] == "length"
    assert len({tuple(one["tokens"]) for one in result["sequences"]}) == 3


def test_prompt_logprobs_come_when_asked_for(driver, bodies, sampler):
    _, without = draw(driver, bodies.sample(sampler, 0))
    assert without["prompt_logprobs"] is None
    _, result = draw(driver, bodies.sample(sampler, 1, prompt_logprobs=True, topk_prompt_logprobs=2))
    assert result["prompt_logprobs"][0] is None
    assert all(value < 0 for value in result["prompt_logprobs"][1:])
    assert [None if row is None else len(row) for row in result["topk_prompt_logprobs"]] == [None, 2, 2]


def test_a_seed_repeats_whatever_else_is_drawn_with_it(driver, bodies, sampler):
    seeded = {"max_tokens": 8, "seed": 5}
    _, alone = draw(driver, bodies.sample(sampler, 0, sampling_params=seeded))
    ids = [driver.submit("asample", bodies.sample(sampler, number)) for number in (1, 2)]
    _, among = draw(driver, bodies.sample(sampler, 3, sampling_params=seeded))
    tokens = [driver.result(one)["sequences"][0]["tokens"] for one in ids]
    assert among["sequences"][0]["tokens"] == alone["sequences"][0]["tokens"]
    assert tokens[0] != tokens[1], "without a seed each draw is new"


def test_samplers_with_different_weights_take_turns(driver, bodies):
    model = driver.model()
    saved = driver.submit("save_weights_for_sampler", {"model_id": model, "seq_id": 1, "sampling_session_seq_id": 0})
    driver.work()
    own, base = driver.result(saved)["sampling_session_id"], driver.sampler()
    many = [driver.submit("asample", bodies.sample(base, number)) for number in range(200)]
    only = driver.submit("asample", bodies.sample(own))
    for _ in range(2):
        job = driver.core.next_job("sample")
        driver.core.finish(job, job.run(), driver.now)
    assert driver.result(only)["type"] == "sample"
    driver.work()
    assert all(driver.result(one)["type"] == "sample" for one in many)


def test_one_bad_sample_in_a_batch_harms_no_other(driver, bodies, sampler, monkeypatch):
    honest = LedgerDecoding.admit

    def first_is_bad(decoding, tasks):
        return [(tasks[0][0], ValueError("bad")), *honest(decoding, tasks[1:])]

    monkeypatch.setattr(LedgerDecoding, "admit", first_is_bad)
    bad, good = (driver.submit("asample", bodies.sample(sampler, number)) for number in range(2))
    driver.work()
    assert driver.result(bad) == {"type": "request_failed", "error": "bad.", "category": "user"}
    assert driver.result(good)["type"] == "sample"


@pytest.mark.parametrize("where", [{"base_model": LEDGER_NAME}, {"model_path": "saved"}])
def test_a_sample_needs_no_sampler(driver, bodies, where):
    if "model_path" in where:
        saved = driver.submit("save_weights_for_sampler", {"model_id": driver.model(), "seq_id": 1, "path": "x"})
        driver.work()
        where = {"model_path": driver.result(saved)["path"]}
    _, result = draw(driver, {**bodies.sample(None, None), **where})
    assert result["type"] == "sample"


def test_a_sample_needs_exactly_one_source(driver, bodies):
    both = {**bodies.sample(None, None), "base_model": LEDGER_NAME, "model_path": "tinker://a/weights/b"}
    assert driver.call("asample", both)[0] == 400
    assert driver.call("asample", bodies.sample(None, None))[0] == 400


@pytest.mark.parametrize("stop", ["text", ["a", "b"], [1, 2], None, []])
def test_every_form_of_stop_is_taken(driver, bodies, sampler, stop):
    _, result = draw(driver, bodies.sample(sampler, sampling_params={"max_tokens": 2, "stop": stop}))
    assert result["type"] == "sample"


def test_stop_tokens_end_a_completion_and_an_empty_list_never_does(driver, bodies, sampler):
    params = {"max_tokens": 3000, "seed": 1}
    _, result = draw(driver, bodies.sample(sampler, 0, sampling_params={**params, "stop": []}))
    everything = result["sequences"][0]["tokens"]
    assert len(everything) == 3000
    assert EOS in everything
    _, result = draw(driver, bodies.sample(sampler, 1, sampling_params=params))
    assert result["sequences"][0]["tokens"] == everything[: everything.index(EOS) + 1]
    assert result["sequences"][0]["stop_reason"] == "stop"
    _, result = draw(driver, bodies.sample(sampler, 2, sampling_params={**params, "stop": [everything[5]]}))
    assert result["sequences"][0]["tokens"][-1] == everything[5]


def test_max_tokens_left_out_is_the_engines_choice(driver, bodies, sampler):
    _, result = draw(driver, bodies.sample(sampler, sampling_params={}))
    assert result["sequences"][0]["tokens"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"sampling_params": {"max_tokens": 0}}, "max_tokens must be 1 to 9223372036854775807, got 0"),
        ({"sampling_params": {"max_tokens": 1, "temperature": -0.5}}, "temperature"),
        ({"sampling_params": {"max_tokens": 1, "top_p": 0}}, "top_p"),
        ({"sampling_params": {"max_tokens": 1, "top_k": -7}}, "top_k"),
        ({"sampling_params": {"max_tokens": 1, "stop": ""}}, "stop string"),
        ({"sampling_params": {"max_tokens": 1, "stop": [5000]}}, "Stop token 5000"),
        ({"num_samples": 0}, "num_samples must be 1 to 1024, got 0"),
        ({"num_samples": 1025}, "num_samples must be 1 to 1024, got 1025"),
        ({"topk_prompt_logprobs": 65}, "topk_prompt_logprobs must be 0 to 64, got 65"),
        ({"prompt": {"chunks": []}}, "The prompt is empty"),
        ({"prompt": {"chunks": [{"tokens": [1, 5000]}]}}, "token 5000"),
        ({"prompt": {"chunks": [{"tokens": [2**63 + 1]}]}}, "too large"),
        ({"prompt": {"chunks": [{"data": "aGk=", "format": "png", "type": "image"}]}}, "text only"),
        (
            {"prompt": {"chunks": [{"tokens": [1] * (CONTEXT_LENGTH + 1)}]}},
            f"{CONTEXT_LENGTH + 1} tokens; local/ledger has a context of {CONTEXT_LENGTH}",
        ),
        ({"prompt_alt_tokens_k": 2}, "does not have the option prompt_alt_tokens_k"),
        ({"topk_sample_logprobs": 65}, "topk_sample_logprobs must be 0 to 64, got 65"),
        ({"prompt_logprobs_last_n": 1}, "prompt_logprobs_last_n needs prompt_logprobs"),
        ({"prompt_logprobs_last_n": 0, "prompt_logprobs": True}, "must be 1 to 2 for a prompt of 3 tokens, got 0"),
        ({"prompt_logprobs_last_n": 3, "prompt_logprobs": True}, "must be 1 to 2 for a prompt of 3 tokens, got 3"),
        ({"target_prompt_logprobs": {"data": [1, 2, 3], "dtype": "int64"}}, "needs the shape [2, K]"),
        (targets([1, 2, 3], shape=[3, 1]), "needs the shape [2, K] for a prompt of 3 tokens, got [3, 1]"),
        (targets([1.0, 2.0], shape=[2, 1], dtype="float32"), "must be int64, not float32"),
        (targets([1, 1000], shape=[2, 1]), "token 1000"),
        (targets([1, -2], shape=[2, 1]), "token -2"),
        (targets([1, None], shape=[2, 1]), "target_prompt_logprobs"),
        (targets([1], shape=[2, 1]), "target_prompt_logprobs"),
        (targets([1], shape=[2, 2**60], sparse_crow_indices=[0, 1, 1], sparse_col_indices=[0]), "cells"),
        (targets([1], shape=[2, 2], sparse_crow_indices=[0, 1, 1], sparse_col_indices=[2]), "target_prompt_logprobs"),
        (targets([1], shape=[2, 2], sparse_crow_indices=[0, 1], sparse_col_indices=[0]), "target_prompt_logprobs"),
    ],
)
def test_what_can_not_be_drawn_is_refused_at_once(driver, bodies, sampler, change, words):
    status, said = driver.call("asample", {**bodies.sample(sampler), **change})
    assert status == 400
    assert words in said["detail"]
    assert driver.work() == 0
    assert driver.call("asample", bodies.sample(sampler))[0] == 200, "the number is still free"


def test_likeliest_tokens_of_each_drawn_one_come_when_asked_for(driver, bodies, sampler):
    _, without = draw(driver, bodies.sample(sampler, 0))
    assert without["sequences"][0]["topk_logprobs"] is None
    _, result = draw(driver, bodies.sample(sampler, 1, topk_sample_logprobs=3))
    rows = result["sequences"][0]["topk_logprobs"]
    assert [len(row) for row in rows] == [3] * 4
    assert all(token == rank and value < 0 for row in rows for rank, (token, value) in enumerate(row))


def test_only_the_end_of_a_prompt_is_scored_when_that_is_asked_for(driver, bodies, sampler):
    asked = {"prompt_logprobs": True, "topk_prompt_logprobs": 1, "prompt_logprobs_last_n": 1}
    _, result = draw(driver, bodies.sample(sampler, **asked))
    assert [value is None for value in result["prompt_logprobs"]] == [True, True, False]
    assert [row is None for row in result["topk_prompt_logprobs"]] == [True, True, False]


def test_targets_are_scored_in_the_layout_in_which_they_were_given(driver, bodies, sampler):
    dense = targets([7, -1, -1, 9], shape=[2, 2])
    csr = targets([7, 9], shape=[2, 2], sparse_crow_indices=[0, 1, 2], sparse_col_indices=[0, 1])
    found = [
        draw(driver, bodies.sample(sampler, number, **asked))[1]["target_prompt_logprobs"]
        for number, asked in enumerate((dense, csr))
    ]
    assert found[0]["dtype"] == found[1]["dtype"] == "float32"
    assert found[0]["shape"] == found[1]["shape"] == [2, 2]
    first, *nothing, last = found[0]["data"]
    assert nothing == [0, 0]
    assert first < 0
    assert last < 0
    assert found[1]["data"] == [first, last]
    assert found[1]["sparse_crow_indices"] == [0, 1, 2]
    assert found[1]["sparse_col_indices"] == [0, 1]
    assert "target_prompt_logprobs" not in draw(driver, bodies.sample(sampler, 2))[1]


def test_stability_info_may_be_asked_for_and_is_not_recorded(driver, bodies, sampler):
    _, result = draw(driver, bodies.sample(sampler, record_stability_info=True))
    assert result["type"] == "sample"


def test_a_prompt_may_fill_the_context(driver, bodies, sampler):
    prompt = {"chunks": [{"tokens": [1] * CONTEXT_LENGTH}]}
    _, result = draw(driver, bodies.sample(sampler, prompt=prompt, sampling_params={}, prompt_logprobs=True))
    assert len(result["prompt_logprobs"]) == CONTEXT_LENGTH
    assert len(result["sequences"][0]["tokens"]) == 1


def test_a_full_queue_asks_to_slow_down(make_driver, bodies):
    driver = make_driver(Limits(queued_samples=2))
    sampler = driver.sampler()
    for number in range(2):
        driver.submit("asample", bodies.sample(sampler, number))
    answer = driver.raw("asample", json.dumps(bodies.sample(sampler, 2)).encode())
    assert answer.status == 429
    assert "retry-after" in dict(answer.headers)
    driver.work()
    assert driver.call("asample", bodies.sample(sampler, 2))[0] == 200
