"""Results of samples in JSON: sequences, names, and log-probabilities of the prompt."""

from __future__ import annotations

import json
import math

import pytest

from tinker_actors.errors import APIResponseValidationError
from tinker_actors.protocol.replies.sample_results import sample_response

JSON = "application/json"


def js(value) -> bytes:
    return json.dumps(value).encode()


def sample(body, prompt=3, **more):
    return sample_response(JSON, js(body), prompt, **more)


SEQUENCES = [
    {"stop_reason": "length", "tokens": [1, 2], "logprobs": [-1, None]},
    {"stop_reason": "stop", "tokens": []},
]


def test_sequences_are_read_and_named():
    response = sample({"type": "sample", "sequences": SEQUENCES, "new": 1}, weights_version=4, sequence_ids=["a", "b"])
    first, second = response.sequences
    assert (first.stop_reason, first.tokens, first.sequence_id) == ("length", [1, 2], "a")
    assert first.logprobs[0] == -1.0
    assert math.isnan(first.logprobs[1])
    assert (second.stop_reason, second.tokens, second.logprobs, second.sequence_id) == ("stop", [], None, "b")
    assert response.weights_version == 4
    assert (response.prompt_logprobs, response.topk_prompt_logprobs, response.prompt_cache_hit_tokens) == (
        None,
        None,
        0,
    )


@pytest.mark.parametrize("names", [None, [], ["a"], ["a", "b", "c"]])
def test_names_that_do_not_fit_are_left_out(names):
    assert [s.sequence_id for s in sample({"sequences": SEQUENCES}, sequence_ids=names).sequences] == [None, None]


@pytest.mark.parametrize(
    ("given", "prompt", "expected"),
    [
        (None, 3, None),
        ([None, -1, -2.5], 3, [None, -1.0, -2.5]),
        ([-1, -2.5], 3, [None, -1.0, -2.5]),  # an independent server leaves the first out
        ([], 1, [None]),
        ([None], 1, [None]),
        ([], 3, None),
        ([None, -1, -2, -3], 3, [None, -1.0, -2.0, -3.0]),
    ],
)
def test_prompt_logprobs_have_one_entry_per_prompt_token(given, prompt, expected):
    assert sample({"sequences": SEQUENCES, "prompt_logprobs": given}, prompt).prompt_logprobs == expected


def test_topk_prompt_logprobs_are_pairs():
    rows = [[[5, -0.5], [7, -1]], None]
    response = sample({"sequences": SEQUENCES, "topk_prompt_logprobs": rows, "prompt_cache_hit_tokens": None})
    assert response.topk_prompt_logprobs == [None, [(5, -0.5), (7, -1.0)], None]


@pytest.mark.parametrize(
    "sequence",
    [{"stop_reason": "eos", "tokens": []}, {"stop_reason": "stop"}, {"stop_reason": "stop", "tokens": [0.5]}],
)
def test_a_sequence_that_can_not_be_is_an_error(sequence):
    with pytest.raises(APIResponseValidationError, match="sample result"):
        sample({"sequences": [sequence]})
