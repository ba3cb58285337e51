"""Sample requests: ranges, dicts, and what is sent."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from tinker_actors.errors import InvalidInputError
from tinker_actors.protocol.requests.sampling import (
    as_sampling_params,
    input_json,
    params_fields,
    params_json,
    sample_json,
)
from tinker_actors.types import ImageAssetPointerChunk, ImageChunk, ModelInput, SamplingParams

PROMPT = ModelInput.from_ints([1, 2])


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, {}),
        ({"max_tokens": 1, "seed": 0}, {"max_tokens": 1, "seed": 0}),
        ({"temperature": 0, "top_k": 1, "top_p": 0.01}, {"temperature": 0.0, "top_k": 1, "top_p": 0.01}),
        ({"temperature": np.float32(0.5), "max_tokens": np.int64(3)}, {"temperature": 0.5, "max_tokens": 3}),
        ({"stop": "\n"}, {"stop": ["\n"]}),
        ({"stop": ["a", "b"]}, {"stop": ["a", "b"]}),
        ({"stop": [5, np.int64(6)]}, {"stop": [5, 6]}),
        ({"stop": np.array([5, 6])}, {"stop": [5, 6]}),
        ({"stop": []}, {"stop": []}),  # never stops early: not the same as leaving it out
    ],
)
def test_parameters_are_sent_plain_and_without_nulls(params, expected):
    defaults = {"temperature": 1.0, "top_k": -1, "top_p": 1.0}
    fields = params_fields(SamplingParams(**params))
    assert fields == {**defaults, **expected}
    assert {type(value) for value in fields.values()} <= {int, float, list}
    assert json.loads(params_json(SamplingParams(**params))) == fields


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"max_tokens": 0}, "max_tokens is 0; it must be at least 1"),
        ({"max_tokens": -1}, "max_tokens is -1"),
        ({"max_tokens": 1.5}, "max_tokens is 1.5; it must be an integer"),
        ({"max_tokens": True}, "max_tokens is True"),
        ({"temperature": -0.1}, "temperature is -0.1; it must be at least 0"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"temperature": "hot"}, "temperature is 'hot'"),
        ({"top_p": 0}, "top_p is 0.0; it must be above 0 and at most 1"),
        ({"top_p": 1.01}, "top_p is 1.01"),
        ({"top_p": math.nan}, "top_p is nan"),
        ({"top_k": 0}, "top_k is 0; it must be at least 1, or -1"),
        ({"top_k": -2}, "top_k is -2"),
        ({"seed": 0.5}, "seed is 0.5"),
        ({"stop": 5}, "stop is 5"),
        ({"stop": ["a", 5]}, "stop mixes"),
        ({"stop": [None]}, "stop[0] is None"),
        ({"stop": [1, -1]}, "stop[1] is -1"),
    ],
)
def test_parameters_outside_their_range_are_refused(params, message):
    for check in (params_fields, params_json):
        with pytest.raises(InvalidInputError) as caught:
            check(SamplingParams(**params))
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ({"max_tokens": 1}, {"max_tokens": True}),
        ({"max_tokens": 1}, {"max_tokens": 1.0}),
        ({"top_k": 1}, {"top_k": 1.0}),
        ({"temperature": 1.0}, {"temperature": True}),
        ({"top_p": 1}, {"top_p": [1]}),
        ({"seed": 1}, {"seed": True}),
    ],
)
def test_what_was_good_once_does_not_let_its_equal_pass(good, bad):
    params_json(SamplingParams(**good))
    with pytest.raises(InvalidInputError):
        params_json(SamplingParams(**bad))


def test_parameters_that_are_changed_are_encoded_anew():
    params = SamplingParams(max_tokens=1, seed=5, stop=["a"])
    first = json.loads(params_json(params))
    params.max_tokens, params.seed = 2, 6
    params.stop.append("b")
    assert json.loads(params_json(params)) == {**first, "max_tokens": 2, "seed": 6, "stop": ["a", "b"]}
    params.stop = None
    assert "stop" not in json.loads(params_json(params))


def test_a_dict_is_taken_for_the_parameters_and_unknown_keys_are_refused():
    assert as_sampling_params({"max_tokens": 3, "top_p": 0.5}).top_p == 0.5
    with pytest.raises(InvalidInputError, match=r"no 'max_token'; did you mean 'max_tokens'\? It has max_tokens, seed"):
        as_sampling_params({"max_token": 3})
    with pytest.raises(InvalidInputError, match="is a int"):
        as_sampling_params(3)


def changed(token):
    prompt = ModelInput.from_ints([1, 2])
    prompt.chunks[0].tokens[1] = token
    return prompt


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_samples": 0}, "num_samples is 0; it must be at least 1"),
        ({"num_samples": 1.0}, "num_samples is 1.0"),
        ({"topk_prompt_logprobs": -1}, "topk_prompt_logprobs is -1; it must be at least 0"),
        ({"prompt": ModelInput.empty()}, "prompt is empty: it has 0 tokens"),
        ({"prompt": [1, 2]}, "prompt is a list, not a ModelInput"),
        ({"prompt": changed(2.5)}, "prompt.chunks[0].tokens[1] is 2.5; it must be an integer"),
        ({"prompt": changed("2")}, "prompt.chunks[0].tokens[1] is '2'"),
        ({"prompt": PROMPT.append_int(-5)}, "prompt.chunks[1].tokens[0] is the negative token id -5"),
    ],
)
def test_a_request_that_can_not_be_right_is_refused(arguments, message):
    given = {"prompt": PROMPT, "num_samples": 1, "params": None, "include_prompt_logprobs": False,
             "topk_prompt_logprobs": 0, **arguments}  # fmt: skip
    with pytest.raises(InvalidInputError) as caught:
        sample_json(given.pop("prompt"), given.pop("num_samples"), given.pop("params"), **given)
    assert message in str(caught.value)


def test_images_are_sent_without_nulls():
    prompt = ModelInput([ImageChunk(b"x", "png"), ImageAssetPointerChunk("http://a", "jpeg", expected_tokens=3)])
    assert json.loads(input_json(prompt, "prompt"))["chunks"] == [
        {"type": "image", "format": "png", "data": "eA=="},
        {"type": "image_asset_pointer", "format": "jpeg", "location": "http://a", "expected_tokens": 3},
    ]
