"""Training examples: what is the target of which position."""

from __future__ import annotations

import numpy as np
import pytest

from tinker_actors.data import policy_datum, supervised_datum
from tinker_actors.errors import InvalidInputError
from tinker_actors.types import EncodedTextChunk, ImageChunk, ModelInput, SampledSequence

PROMPT = [10, 11, 12]


def sampled(tokens, logprobs):
    return SampledSequence("stop", tokens, logprobs)


def values(datum, name):
    return datum.loss_fn_inputs[name].to_numpy()


@pytest.mark.parametrize("prompt", [PROMPT, np.array(PROMPT), tuple(PROMPT), ModelInput.from_ints(PROMPT)])
def test_each_position_predicts_the_next_token(prompt):
    datum = policy_datum(prompt, sampled([20, 21], [-0.5, -0.25]), 2.0)
    assert datum.model_input.to_ints() == [10, 11, 12, 20]
    assert values(datum, "target_tokens").tolist() == [11, 12, 20, 21]
    assert values(datum, "logprobs").tolist() == [0, 0, -0.5, -0.25]
    assert values(datum, "advantages").tolist() == [0, 0, 2, 2]
    dtypes = {name: tensor.dtype for name, tensor in datum.loss_fn_inputs.items()}
    assert dtypes == {"target_tokens": "int64", "logprobs": "float32", "advantages": "float32"}


def test_advantages_may_differ_from_token_to_token():
    datum = policy_datum(PROMPT, sampled([20, 21], [-0.5, -0.25]), [1.0, -1.0])
    assert values(datum, "advantages").tolist() == [0, 0, 1, -1]


def test_arrays_of_a_response_are_taken_as_they_are():
    sequence = sampled(np.array([20, 21, 22], np.int32), np.array([-1, -2, -3], np.float32))
    datum = policy_datum([10], sequence, np.float64(0.5))
    assert datum.model_input.to_ints() == [10, 20, 21]
    assert values(datum, "target_tokens").tolist() == [20, 21, 22]
    assert values(datum, "logprobs").tolist() == [-1, -2, -3]
    assert values(datum, "advantages").tolist() == [0.5, 0.5, 0.5]


def test_only_the_completion_has_weight():
    datum = supervised_datum(PROMPT, [20, 21])
    assert datum.model_input.to_ints() == [10, 11, 12, 20]
    assert values(datum, "target_tokens").tolist() == [11, 12, 20, 21]
    assert values(datum, "weights").tolist() == [0, 0, 1, 1]


def test_a_completion_of_one_token_is_predicted_by_the_prompts_last():
    datum = supervised_datum(PROMPT, [20])
    assert datum.model_input.to_ints() == PROMPT
    assert values(datum, "target_tokens").tolist() == [11, 12, 20]
    assert values(datum, "weights").tolist() == [0, 0, 1]


@pytest.mark.parametrize("completion", [[20], [20, 21]])
def test_the_positions_of_images_count_and_predict_nothing(completion):
    image = ImageChunk(data=b"png", format="png", expected_tokens=3)
    prompt = ModelInput([EncodedTextChunk([10]), image, EncodedTextChunk([11])])
    datum = supervised_datum(prompt, completion)
    assert datum.model_input.length == 5 + len(completion) - 1
    assert values(datum, "target_tokens").tolist() == [0, 0, 0, 11, *completion]
    assert values(datum, "weights").tolist() == [0, 0, 0, 0, *[1] * len(completion)]
    assert prompt.length == 5, "the prompt stays as it was"


def test_several_chunks_of_text_become_one():
    prompt = ModelInput([EncodedTextChunk([]), EncodedTextChunk([10]), EncodedTextChunk(np.array([11, 12]))])
    assert supervised_datum(prompt, [20, 21]).model_input.to_ints() == [10, 11, 12, 20]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: policy_datum([], sampled([1], [-1.0]), 1.0), "a token each"),
        (lambda: policy_datum(PROMPT, sampled([], []), 1.0), "a token each"),
        (lambda: policy_datum(PROMPT, sampled([1], None), 1.0), "no logprobs"),
        (lambda: policy_datum(PROMPT, sampled([1, 2], [-1.0, -1.0]), [1.0]), "shape"),
        (lambda: policy_datum(PROMPT, sampled([1, 2], [-1.0]), 1.0), "2 tokens and logprobs"),
        (lambda: policy_datum(PROMPT, sampled([1, 2], [-1.0] * 3), 1.0), "2 tokens and logprobs"),
        (lambda: policy_datum(PROMPT, sampled([1, 2], [-1.0, None]), 1.0), "logprobs has a value that is not finite"),
        (lambda: policy_datum(PROMPT, sampled([1], [-1.0]), None), "advantage is None; it must be a number"),
        (lambda: policy_datum(PROMPT, sampled([1], [-1.0]), "much"), "advantage is 'much'; it must be a number"),
        (
            lambda: policy_datum(PROMPT, sampled([1, 2], [-1.0, -1.0]), [[1.0], [1.0, 2.0]]),
            "advantage needs to be rectangular",
        ),
        (
            lambda: policy_datum(PROMPT, sampled([1], [-1.0]), np.array(1e300)),
            r"advantage\[0\] is 1e\+300; float32 ends at",
        ),
        (lambda: policy_datum(PROMPT, sampled([1], [-1.0]), 1j), "advantage is 1j; it must be a number"),
        (
            lambda: policy_datum([[1], [1, 2]], sampled([1], [-1.0]), 1.0),
            r"prompt\[0\] is \[1\]; it must",
        ),
        (lambda: supervised_datum(PROMPT, []), "a token each"),
        (lambda: supervised_datum(ModelInput.empty(), [1]), "a token each"),
        (lambda: supervised_datum(PROMPT, [0.5]), r"completion\[0\] is 0.5"),
        (lambda: supervised_datum([PROMPT], [1]), r"prompt\[0\] is "),
        (lambda: supervised_datum("text", [1]), "encode the text with a tokenizer"),
    ],
)
def test_what_can_not_be_aligned_is_refused(make, words):
    with pytest.raises(InvalidInputError, match=words):
        make()
