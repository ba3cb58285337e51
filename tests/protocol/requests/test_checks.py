"""What is refused before anything is sent, and how it is said."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tinker_actors.errors import InvalidInputError
from tinker_actors.protocol.requests.checks import check_batch, check_input
from tinker_actors.types import Datum, ImageChunk, ModelInput, TensorData
from tinker_actors.types.training import LOSS_FN_TYPES

GOOD = {"target_tokens": [1, 2, 3], "weights": [1.0, 1.0, 1.0]}
POLICY = {"target_tokens": [1, 2, 3], "logprobs": [-1.0] * 3, "advantages": [1.0] * 3}


def datum(inputs=None, tokens=(1, 2, 3)):
    return Datum(ModelInput.from_ints(list(tokens)), GOOD if inputs is None else inputs)


def refusal(data, loss_fn="cross_entropy", forward_only=False):
    with pytest.raises(InvalidInputError) as caught:
        check_batch(data, loss_fn, forward_only=forward_only)
    assert caught.value.category == "user"
    return str(caught.value)


@pytest.mark.parametrize("data", [[], ()])
def test_empty_data_are_refused(data):
    assert "at least one Datum" in refusal(data)


@pytest.mark.parametrize("data", [datum(), None, iter([datum()]), {"a": 1}])
def test_data_that_are_no_list_are_refused(data):
    assert "give a list of Datum" in refusal(data)


def test_what_is_no_datum_is_refused_with_its_place():
    assert refusal([datum(), {"model_input": 1}]) == "data[1] is a dict, not a Datum."


def test_an_unknown_loss_function_is_refused_with_the_known_ones():
    message = refusal([datum()], "cross_entorpy")
    assert "'cross_entorpy'" in message
    assert all(name in message for name in LOSS_FN_TYPES)


@pytest.mark.parametrize("loss_fn", sorted(LOSS_FN_TYPES))
def test_every_loss_that_the_wire_knows_is_passed_on(loss_fn):
    check_batch([datum(POLICY)], loss_fn, forward_only=False)


@pytest.mark.parametrize("loss_fn", sorted(set(LOSS_FN_TYPES) - {"custom"}))
@pytest.mark.parametrize("forward_only", [True, False])
def test_missing_targets_are_refused(loss_fn, forward_only):
    message = refusal([datum(POLICY), datum({"weights": [1.0] * 3})], loss_fn, forward_only)
    assert message.startswith("data[1].loss_fn_inputs lacks target_tokens")
    assert f"which {loss_fn} needs; it has weights." in message


def test_a_custom_loss_needs_what_it_declares_itself():
    check_batch([datum({})], "custom", forward_only=False)


@pytest.mark.parametrize("loss_fn", ["importance_sampling", "ppo", "cispo", "dro", "gspo"])
def test_policy_losses_need_their_inputs_for_a_gradient_only(loss_fn):
    assert "lacks logprobs and advantages" in refusal([datum()], loss_fn)
    check_batch([datum()], loss_fn, forward_only=True)


def test_weights_are_optional():
    check_batch([datum({"target_tokens": [1, 2, 3]})], "cross_entropy", forward_only=True)
    check_batch([datum({"target_tokens": [1, 2, 3]})], "cross_entropy", forward_only=False)


@pytest.mark.parametrize("name", ["target_tokens", "weights", "logprobs", "advantages", "sequence_ratio_mask"])
def test_misaligned_lengths_are_refused_with_both_numbers(name):
    inputs = {**POLICY, "weights": [1.0] * 3, "sequence_ratio_mask": [1.0] * 3}
    inputs[name] = inputs[name][:2]
    message = refusal([datum(POLICY), datum(inputs)], "gspo")
    assert message.startswith(f"data[1].loss_fn_inputs['{name}'] has length 2")
    assert "3 tokens" in message


def test_a_scalar_is_misaligned():
    assert "length 0" in refusal([datum({**POLICY, "advantages": np.array(1.0)})], "ppo")


def test_several_targets_a_position_are_fine_when_the_rows_fit():
    def two_wide(rows):
        return {"target_tokens": np.ones((rows, 2), np.int64), "weights": np.ones((rows, 2), np.float32)}

    check_batch([datum(two_wide(3))], "cross_entropy", forward_only=False)
    assert "has length 4 (shape [4, 2])" in refusal([datum(two_wide(4))])


def test_weights_in_another_shape_than_the_targets_are_refused():
    inputs = {"target_tokens": np.ones((3, 2), np.int64), "weights": [1.0] * 3}
    assert "has shape [3], but target_tokens has [3, 2]" in refusal([datum(inputs)])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["weights", "clip_low_threshold"])
def test_a_number_that_is_not_finite_is_refused_with_its_place(bad, name):
    message = refusal([datum({**GOOD, name: [1.0, bad, 1.0]})])
    assert message == f"data[0].loss_fn_inputs['{name}'] has {bad} at flat index 1; it must be finite."


def test_targets_are_token_ids():
    assert "are int64" in refusal([datum({"target_tokens": np.array([1.0, 2.0, 3.0])})])
    message = refusal([datum({"target_tokens": [1, -100, 3]})])
    assert "-100" in message
    assert "weight 0" in message


def test_a_raw_list_put_into_the_inputs_afterwards_is_refused():
    example = datum()
    example.loss_fn_inputs["weights"] = [1.0, 1.0, 1.0]
    assert refusal([example]) == "data[0].loss_fn_inputs['weights'] is a list, not a TensorData."


def changed(chunk):
    model_input = ModelInput.from_ints([1])
    model_input.chunks[0] = chunk
    return model_input


@pytest.mark.parametrize(
    ("model_input", "message"),
    [
        (ModelInput.empty(), "is empty: it has 0 tokens"),
        (ModelInput.from_ints([]), "is empty"),
        (ModelInput.from_ints(np.array([], dtype=np.int64)), "is empty"),
        (changed("text"), "x.chunks[0] is a str, which is no chunk"),
        ([1, 2], "x is a list, not a ModelInput"),
        ("text", "x is a str, not a ModelInput"),
        (None, "not a ModelInput"),
    ],
)
def test_an_input_that_can_not_be_right_is_refused(model_input, message):
    with pytest.raises(InvalidInputError) as caught:
        check_input(model_input, "x")
    assert message in str(caught.value)


def test_an_image_of_unknown_size_leaves_alignment_to_the_server():
    targets = {"target_tokens": [1, 2, 3, 4, 5]}
    unknown = ModelInput([ImageChunk(b"x", "png")])
    check_batch([Datum(unknown, targets)], "cross_entropy", forward_only=False)
    known = ModelInput([ImageChunk(b"x", "png", expected_tokens=4)])
    assert "4 tokens" in refusal([Datum(known, targets)])


def test_sparse_targets_are_aligned_by_their_dense_shape():
    sparse = TensorData([7], "int64", [3, 9], sparse_crow_indices=[0, 1, 1, 1], sparse_col_indices=[4])
    check_batch([datum({"target_tokens": sparse})], "cross_entropy", forward_only=False)
    assert "has length 3" in refusal([datum({"target_tokens": sparse}, tokens=[1, 2])])


def test_an_image_that_was_changed_is_checked_again_with_its_place():
    image = ImageChunk(b"x", "png", expected_tokens=1)
    image.data = "text"
    with pytest.raises(InvalidInputError, match=r"^x\.chunks\[0\]: The image's data are a str"):
        check_input(ModelInput([image]), "x")


@pytest.mark.parametrize("name", [7, "\ud800"])
def test_the_names_of_inputs_are_text(name):
    example = datum()
    example.loss_fn_inputs[name] = example.loss_fn_inputs["weights"]
    assert "data[0]." in refusal([example])
