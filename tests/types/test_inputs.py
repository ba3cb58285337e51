"""Prompts and training examples."""

from __future__ import annotations

import enum

import numpy as np
import pytest

from tinker_actors.errors import InvalidInputError
from tinker_actors.types import Datum, EncodedTextChunk, ImageAssetPointerChunk, ImageChunk, ModelInput, TensorData
from tinker_actors.types.inputs import as_model_input


@pytest.mark.parametrize("tokens", [[1, 2, 3], np.array([1, 2, 3])])
def test_a_chunk_copies_its_tokens(tokens):
    chunk = EncodedTextChunk(tokens=tokens)
    tokens[0] = 99
    assert list(chunk.tokens) == [1, 2, 3]
    assert chunk.length == 3


def test_a_list_that_is_cleared_afterwards_is_still_trained_on():
    tokens = [1, 2]
    prompt = ModelInput.from_ints(tokens)
    tokens.clear()
    assert prompt.to_ints() == [1, 2]


@pytest.mark.parametrize("tokens", [(1, 2), range(1, 3), iter([1, 2]), np.array([1, 2], dtype=np.uint8)])
def test_tokens_come_in_any_sequence(tokens):
    assert ModelInput.from_ints(tokens).to_ints() == [1, 2]


@pytest.mark.parametrize(
    "tokens", ["text", b"bytes", np.array([1.5]), np.array([[1, 2]]), np.array(["a"]), np.array([True])]
)
def test_what_is_no_run_of_tokens_is_refused(tokens):
    with pytest.raises(InvalidInputError):
        EncodedTextChunk(tokens=tokens)


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        ([True] * 3, r"Token ids\[0\] is True; it must be an integer"),
        ([1, 2.0, 3], r"Token ids\[1\] is 2\.0; it must be an integer"),
        ([1.5, 2.5], r"Token ids\[0\] is 1\.5"),
        (["1", "2"], r"Token ids\[0\] is '1'"),
        ([1, None], r"Token ids\[1\] is None"),
        ([[1, 2]], r"Token ids\[0\] is \[1, 2\]"),
        ((1, False), r"Token ids\[1\] is False"),
        (np.array([1, True], object), r"Token ids\[1\] is True"),
        ([np.float32(1.0)], r"Token ids\[0\] is "),
        ([np.bool_(True)], r"Token ids\[0\] is "),
    ],
)
def test_what_would_be_bent_into_a_token_is_refused_when_an_input_is_made_of_it(tokens, says):
    for make in (EncodedTextChunk, ModelInput.from_ints, Datum):
        with pytest.raises(InvalidInputError, match=says.replace("Token ids", "(Token ids|model_input)")) as caught:
            make(tokens)
        assert caught.value.__context__ is None, "one mistake is one traceback"


def test_integers_of_other_libraries_become_plain_ones():
    class Token(enum.IntEnum):
        END = 7

    ids = ModelInput.from_ints([1, np.int64(2), Token.END, np.uint8(4)]).to_ints()
    assert ids == [1, 2, 7, 4]
    assert {type(token) for token in ids} == {int}


@pytest.mark.parametrize("tokens", [[1, 2], (1, 2), np.array([1, 2]), {"input_ids": [1, 2], "attention_mask": [1, 1]}])
def test_token_ids_are_taken_where_an_input_is_wanted(tokens):
    assert Datum(tokens).model_input.to_ints() == [1, 2]
    assert as_model_input(tokens, "prompt").to_ints() == [1, 2]
    made = ModelInput.from_ints([1])
    assert as_model_input(made, "prompt") is made


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("some text", "prompt can't be made of str: encode the text with a tokenizer first"),
        (7, "prompt can't be made of int"),
        (None, "prompt can't be made of NoneType"),
        (EncodedTextChunk([1]), r"ModelInput\(\[chunk\]\)"),
    ],
)
def test_what_is_no_input_is_refused_with_what_would_be(value, says):
    with pytest.raises(InvalidInputError, match=says):
        as_model_input(value, "prompt")
    with pytest.raises(InvalidInputError, match=says.replace("prompt", "model_input")):
        Datum(value)


def test_token_ids_are_no_chunks():
    with pytest.raises(InvalidInputError, match=r"chunks\[0\] is 1, which is no chunk; ModelInput\.from_ints"):
        ModelInput([1, 2])


def test_appending_leaves_the_original_alone():
    first = ModelInput.from_ints([1])
    second = first.append(EncodedTextChunk([2, 3])).append_int(4)
    assert (first.to_ints(), second.to_ints()) == ([1], [1, 2, 3, 4])
    assert (first.length, second.length, ModelInput.empty().length) == (1, 4, 0)


def test_the_chunk_list_is_the_inputs_own():
    chunks = [EncodedTextChunk([1])]
    prompt = ModelInput(chunks)
    chunks.append(EncodedTextChunk([2]))
    assert prompt.to_ints() == [1]


@pytest.mark.parametrize("image", [ImageChunk(b"x", "png"), ImageAssetPointerChunk("http://a", "jpeg")])
def test_an_image_has_a_length_only_when_it_is_told(image):
    prompt = ModelInput([EncodedTextChunk([1]), image])
    with pytest.raises(InvalidInputError, match="expected_tokens"):
        _ = prompt.length
    with pytest.raises(InvalidInputError, match="text chunks only"):
        prompt.to_ints()
    image.expected_tokens = 5
    assert prompt.length == 6


@pytest.mark.parametrize(
    ("name", "value", "dtype"),
    [
        ("target_tokens", [1, 2], "int64"),
        ("weights", [0, 1], "float32"),
        ("advantages", (0.5, 1), "float32"),
        ("logprobs", [-1.0], "float32"),
        ("clip_low_threshold", [0.8], "float32"),
        ("clip_high_threshold", [1.2], "float32"),
        ("sequence_ratio_mask", [1, 0], "float32"),
        ("anything", np.array([1, 2], dtype=np.int32), "int64"),
        ("anything", np.array([1.0]), "float32"),
        ("weights", np.array([1, 0]), "int64"),  # an array keeps its own kind
        ("anything", TensorData([1], dtype="int64"), "int64"),
    ],
)
def test_values_become_tensors_by_the_dtype_table(name, value, dtype):
    tensor = Datum(ModelInput.from_ints([1]), {name: value}).loss_fn_inputs[name]
    assert isinstance(tensor, TensorData)
    assert tensor.dtype == dtype
    assert tensor.shape == list(np.shape(tensor.to_numpy()))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("other", [1], "'other'"),
        ("weights", 1.0, "'weights'\\] can't be made of float"),
        ("weights", "text", "str"),
        ("weights", [[1], [1, 2]], "rectangular"),
        ("mask", np.array([True]), "no name on the wire"),
    ],
)
def test_values_that_say_too_little_are_refused(name, value, message):
    with pytest.raises(InvalidInputError, match=message):
        Datum(ModelInput.from_ints([1]), {name: value})


def test_loss_inputs_may_be_set_afterwards_without_touching_the_callers_dict():
    given = {"weights": [1.0]}
    datum = Datum(ModelInput.from_ints([1]), given)
    datum.loss_fn_inputs["advantages"] = TensorData([1.0], dtype="float32")
    assert set(given) == {"weights"}
    assert Datum(ModelInput.from_ints([1])).loss_fn_inputs == {}
    assert "advantages" in repr(datum)


def test_torch_values_become_tensors():
    torch = pytest.importorskip("torch")
    datum = Datum(ModelInput.from_ints([1]), {"anything": torch.tensor([1.0], dtype=torch.float64)})
    assert datum.loss_fn_inputs["anything"].dtype == "float32"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ImageChunk("aGk=", "png"), "give the bytes"),
        (lambda: ImageChunk(None, "png"), "give the bytes"),
        (lambda: ImageChunk(b"", "png"), "empty"),
        (lambda: ImageChunk(b"x", "gif"), "'gif'; it must be 'png' or 'jpeg'"),
        (lambda: ImageChunk(b"x", "png", 2.5), "expected_tokens is 2.5"),
        (lambda: ImageChunk(b"x", "png", True), "expected_tokens is True"),
        (lambda: ImageChunk(b"x", "png", 0), "at least 1"),
        (lambda: ImageAssetPointerChunk(7, "png"), "location is 7"),
        (lambda: ImageAssetPointerChunk(" ", "png"), "not empty"),
        (lambda: ImageAssetPointerChunk("s3://\udce9", "png"), "surrogate"),
        (lambda: ImageAssetPointerChunk("s3://a", "PNG"), "'PNG'"),
        (lambda: ModelInput(5), "can't be made of int"),
        (lambda: ModelInput({EncodedTextChunk([1])}), "no order"),
        (lambda: Datum(ModelInput.from_ints([1]), [("weights", [1.0])]), "give a dict"),
    ],
)
def test_parts_of_an_input_are_checked(make, says):
    with pytest.raises(InvalidInputError, match=says):
        make()


def test_what_holds_an_images_bytes_is_taken():
    for data in (b"x", bytearray(b"x"), memoryview(b"x")):
        image = ImageChunk(data, "png", np.int64(3))
        assert (image.data, type(image.data), image.expected_tokens, type(image.expected_tokens)) == (
            b"x",
            bytes,
            3,
            int,
        )
