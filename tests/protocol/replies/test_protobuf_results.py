"""Answers become arrays and lists, and what contradicts itself becomes an error."""

from __future__ import annotations

import contextlib
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinker_actors.errors import APIResponseValidationError
from tinker_actors.protocol.codec.protobuf.schema import BFLOAT16, FLOAT32, INT32, INT64, messages
from tinker_actors.protocol.codec.protobuf.serving import encode_forward_backward_output, encode_sample_response
from tinker_actors.protocol.replies import protobuf_results
from tinker_actors.types import SampledSequence


def packed(kind, *values):
    return np.array(values, kind).tobytes()


def output(*records, output_type="", metrics=None):
    """An encoded result; a record is `(num_datums, {name: (data, offsets, dtype, trailing_shape)})`."""
    message = messages().ForwardBackwardOutput(loss_fn_output_type=output_type, metrics=metrics or {})
    for count, fields in records:
        record = message.loss_fn_outputs.add(num_datums=count)
        for name, (data, offsets, dtype, trailing) in fields.items():
            field = record.fields[name]
            field.data, field.offsets, field.dtype = data, packed("<i8", *offsets), dtype
            field.trailing_shape.extend(trailing)
    return message.SerializeToString()


def read(*records, **more):
    return protobuf_results.forward_backward_output(output(*records, **more))


# ---------------------------------------------------------------- training


def test_a_batch_is_cut_into_its_datums():
    got = read((2, {"logprobs": (packed("<f4", -1, -2, -3), (0, 8, 12), FLOAT32, ())}), metrics={"loss:sum": 6.0})
    first, second = (each["logprobs"] for each in got.loss_fn_outputs)
    assert (first.tolist(), second.tolist()) == ([-1.0, -2.0], [-3.0])
    assert (first.dtype, first.shape) == ("float32", [2])
    assert got.metrics == {"loss:sum": 6.0}


def test_int32_becomes_int64_in_the_shape_of_each_datum():
    got = read((2, {"x": (packed("<i4", *range(6)), (0, 8, 24), INT32, (2,))}))
    first, second = (each["x"] for each in got.loss_fn_outputs)
    assert (first.shape, first.tolist(), first.dtype) == ([1, 2], [[0, 1]], "int64")
    assert (second.shape, second.tolist(), second.dtype) == ([2, 2], [[2, 3], [4, 5]], "int64")


def test_bfloat16_is_widened():
    values = np.array([1.0, -2.5, 0.15625, np.inf], "<f4")
    halves = (values.view("<u4") >> 16).astype("<u2").tobytes()
    got = read((2, {"x": (halves, (0, 2, 8), BFLOAT16, ())}))
    assert [each["x"].tolist() for each in got.loss_fn_outputs] == [[1.0], [-2.5, 0.15625, math.inf]]
    assert got.loss_fn_outputs[0]["x"].dtype == "float32"


def test_records_follow_each_other_and_may_differ():
    got = read(
        (1, {"x": (packed("<f4", 1, 2), (0, 8), FLOAT32, ())}),
        (2, {"x": (packed("<i8", 3, 4), (0, 8, 16), INT64, (1,)), "y": (b"", (0, 0, 0), FLOAT32, ())}),
    )
    assert [each["x"].tolist() for each in got.loss_fn_outputs] == [[1.0, 2.0], [[3]], [[4]]]
    assert [sorted(each) for each in got.loss_fn_outputs] == [["x"], ["x", "y"], ["x", "y"]]


def test_a_server_may_count_datums_without_showing_them():
    assert read((3, {}), (2, {})).loss_fn_outputs == [{}] * 5


def test_without_a_count_the_first_field_counts():
    got = read((0, {"x": (packed("<f4", 1, 2), (0, 4, 8), FLOAT32, ())}))
    assert [each["x"].tolist() for each in got.loss_fn_outputs] == [[1.0], [2.0]]


@pytest.mark.parametrize("trailing", [(0,), (2, 0), (0, 3)])
def test_rows_without_columns_are_no_rows(trailing):
    (datum,) = read((1, {"x": (b"", (0, 0), FLOAT32, trailing)})).loss_fn_outputs
    assert datum["x"].shape == [0, *trailing]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("", "ArrayRecord"), ("TorchLossReturn", "TorchLossReturn"), ("a.b:c:Other", "Other"), ("a:", "ArrayRecord")],
)
def test_the_type_is_what_follows_the_last_colon(sent, kept):
    assert read(output_type=sent, metrics={"a:sum": 1.0}).loss_fn_output_type == kept


def test_a_result_without_a_type_has_that_of_its_first_record():
    message = messages().ForwardBackwardOutput()
    message.loss_fn_outputs.add(type_tag="x:Custom", num_datums=1)
    assert protobuf_results.forward_backward_output(message.SerializeToString()).loss_fn_output_type == "Custom"


def test_outputs_may_be_written_to_and_do_not_reach_into_their_neighbours():
    first, second = read((2, {"x": (packed("<f4", 1, 2), (0, 4, 8), FLOAT32, ())})).loss_fn_outputs
    first["x"].to_numpy()[:] = 9
    assert second["x"].tolist() == [2.0]


FOUR = packed("<f4", 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("count", "field", "message"),
    [
        (2, (FOUR, (0, 16), FLOAT32, ()), "has 2 offsets for 2 datums, which take 3"),
        (1, (FOUR, (0, 8, 16), FLOAT32, ()), "has 3 offsets for 1 datums, which take 2"),
        (1, (FOUR, (), FLOAT32, ()), "has 0 offsets for 1 datums"),
        (1, (FOUR, (0, 20), FLOAT32, ()), "don't divide its 16 bytes"),
        (1, (FOUR, (-4, 16), FLOAT32, ()), "don't divide its 16 bytes"),
        (2, (FOUR, (0, 16, 8), FLOAT32, ()), "don't divide its 16 bytes"),
        (2, (FOUR, (0, 6, 16), FLOAT32, ()), "into items of 4"),
        (1, (FOUR[:-1], (0, 12), FLOAT32, ()), "has 15 bytes, which is no multiple of 4"),
        (1, (FOUR, (0, 16), 0, ()), "dtype number 0, which is not known"),
        (1, (FOUR, (0, 16), 9, ()), "dtype number 9, which is not known"),
        (1, (FOUR, (0, 16), FLOAT32, (3,)), "no multiple of the shape"),
        (1, (FOUR, (0, 16), FLOAT32, (0,)), "no multiple of the shape"),
        (1, (FOUR, (0, 16), FLOAT32, (-2, -2)), "no multiple of the shape"),
        (1, (b"", (0, 0), FLOAT32, (2**40, 2**40)), "can't be understood"),
        (-1, (FOUR, (0, 16), FLOAT32, ()), "a record has -1 datums"),
        (2**60, (FOUR, (0, 16), FLOAT32, ()), "a record has 1152921504606846976 datums"),
    ],
)
def test_a_batch_that_contradicts_itself_is_an_error(count, field, message):
    with pytest.raises(APIResponseValidationError, match="The server's forward_backward result") as caught:
        read((count, {"x": field}))
    assert message in str(caught.value)


# ---------------------------------------------------------------- sampling


def sample(message, prompt=3, **more):
    return protobuf_results.sample_response(message.SerializeToString(), prompt, **more)


def one_sequence(**fields):
    message = messages().SampleResponse()
    message.sequences.add(**fields)
    return message


def test_sequences_are_read_and_named():
    message = one_sequence(stop_reason=1, tokens=packed("<i4", 7, 8), logprobs=packed("<f4", -0.5, -1.5))
    message.sequences.add(tokens=packed("<i4", 9))
    message.prompt_cache_hit_tokens = 2
    response = sample(message, weights_version=4, sequence_ids=["a", "b"])
    first, second = response.sequences
    assert (first.stop_reason, first.tokens, first.logprobs, first.sequence_id) == ("length", [7, 8], [-0.5, -1.5], "a")
    assert (first.tokens_np.dtype, first.logprobs_np.dtype) == (np.int32, np.float32)
    assert (second.tokens, second.logprobs, second.logprobs_np, second.sequence_id) == ([9], None, None, "b")
    assert (response.weights_version, response.prompt_cache_hit_tokens) == (4, 2)
    assert response.prompt_logprobs is response.prompt_logprobs_np is response.topk_prompt_logprobs is None


def test_a_sequence_without_a_stop_reason_stopped():
    assert sample(one_sequence(tokens=packed("<i4", 1))).sequences[0].stop_reason == "stop"


@pytest.mark.parametrize("names", [None, [], ["a", "b"]])
def test_names_that_do_not_fit_are_left_out(names):
    assert sample(one_sequence(stop_reason=1), sequence_ids=names).sequences[0].sequence_id is None


def test_a_sequence_without_tokens_has_empty_lists():
    (sequence,) = sample(one_sequence(stop_reason=1, logprobs=b"")).sequences
    assert (sequence.tokens, sequence.logprobs) == ([], [])
    (unscored,) = sample(one_sequence(stop_reason=1, tokens=packed("<i4", 1), logprobs=b"")).sequences
    assert unscored.logprobs is None


@pytest.mark.parametrize(
    ("values", "prompt", "expected"),
    [
        ((math.nan, -1, -2.5), 3, [None, -1.0, -2.5]),
        ((math.nan, math.nan, -2.5), 3, [None, None, -2.5]),
        ((-1, -2.5), 3, [None, -1.0, -2.5]),  # a server that leaves the first out
        ((), 3, None),
        ((), 1, [None]),
        ((math.nan,), 1, [None]),
    ],
)
def test_nan_among_prompt_logprobs_is_none_in_the_list(values, prompt, expected):
    message = one_sequence(stop_reason=1)
    message.prompt_logprobs = packed("<f4", *values)
    response = sample(message, prompt)
    array = response.prompt_logprobs_np
    assert response.prompt_logprobs == expected
    assert (array is None) == (expected is None)
    assert array is None or np.isnan(array).tolist() == [value is None for value in expected]


def ranked(message, ids, logprobs, k, length):
    message.token_ids, message.logprobs, message.k, message.length = ids, logprobs, k, length


EMPTY = -99999.0


def test_empty_cells_are_cut_off_and_empty_rows_are_none():
    message = one_sequence(tokens=packed("<i4", 1, 2))
    ids, logprobs = (0, 0, 5, 7, 6, 0), (EMPTY, EMPTY, -0.5, -1, -0.25, EMPTY)
    ranked(message.topk_prompt_logprobs, packed("<i4", *ids), packed("<f4", *logprobs), 2, 3)
    ranked(message.sequences[0].topk_sampled_logprobs, packed("<i4", 0, 3), packed("<f4", -1, EMPTY), 1, 2)
    response = sample(message)
    assert response.topk_prompt_logprobs == [None, [(5, -0.5), (7, -1.0)], [(6, -0.25)]]
    assert response.topk_prompt_logprobs_np[0].shape == (3, 2)
    # Only token 0 together with the mark is an empty cell.
    assert response.sequences[0].topk_logprobs == [[(0, -1.0)], [(3, EMPTY)]]


def test_likeliest_tokens_without_the_first_position_get_it():
    message = one_sequence(stop_reason=1)
    ranked(message.topk_prompt_logprobs, packed("<i4", 5, 6), packed("<f4", -1, -2), 1, 2)
    assert sample(message).topk_prompt_logprobs == [None, [(5, -1.0)], [(6, -2.0)]]


def test_likeliest_tokens_without_columns_are_none_at_all():
    message = one_sequence(stop_reason=1)
    ranked(message.topk_prompt_logprobs, b"", b"", 0, 2**32 - 1)
    assert sample(message).topk_prompt_logprobs is None


def test_target_logprobs_come_in_the_form_of_the_request():
    message = one_sequence(stop_reason=1)
    target = message.target_prompt_logprobs
    target.sparse_csr.values = packed("<f4", -1)
    target.sparse_csr.crow_indices, target.sparse_csr.col_indices = packed("<i8", 0, 0, 1), packed("<i8", 1)
    target.dtype = FLOAT32
    target.shape.extend((2, 2))
    assert sample(message).target_prompt_logprobs.tolist() == [[0.0, 0.0], [0.0, -1.0]]
    target.dense = packed("<f4", *range(4))
    assert sample(message).target_prompt_logprobs.tolist() == [[0.0, 1.0], [2.0, 3.0]]


def broken_samples():
    yield "stop reason number 7", one_sequence(stop_reason=7)
    yield "no multiple of 4", one_sequence(tokens=b"\1\0\0")
    yield "no multiple of 4", one_sequence(tokens=b"", logprobs=b"\1")
    yield "2 tokens and 1 logprobs", one_sequence(tokens=packed("<i4", 1, 2), logprobs=packed("<f4", -1))
    message = one_sequence(stop_reason=1)
    message.prompt_logprobs = b"\1\2\3"
    yield "prompt_logprobs has 3 bytes", message
    message = one_sequence(stop_reason=1)
    ranked(message.topk_prompt_logprobs, packed("<i4", 1, 2), packed("<f4", 1, 2), 2, 2)
    yield "2 tokens and 2 logprobs for 2 rows of 2 cells", message
    message = one_sequence(stop_reason=1)
    message.target_prompt_logprobs.dtype = FLOAT32
    yield "target_prompt_logprobs has no values", message


@pytest.mark.parametrize(("why", "message"), list(broken_samples()))
def test_a_sample_that_contradicts_itself_is_an_error(why, message):
    with pytest.raises(APIResponseValidationError, match="The server's sample result can't be understood") as caught:
        sample(message)
    assert why in str(caught.value)


# ---------------------------------------------------------------- any bytes

GOOD_SAMPLE = encode_sample_response(
    [SampledSequence("length", [5, 6, 7], [-0.5, -1.0, -1.5]), SampledSequence("stop", [8])],
    [None, -1.0, -2.0],
    [None, [(5, -0.5), (7, -1.0)], [(9, -3.0)]],
    target_prompt_logprobs=np.zeros((2, 3), np.float32),
)
GOOD_OUTPUT = encode_forward_backward_output(
    [{"logprobs": np.array([-1.0, -2.0], np.float32)}, {"logprobs": np.array([[-1.0, 2.0]], np.float32)}],
    {"loss:sum": 3.0},
)


@pytest.mark.parametrize(
    "read", [protobuf_results.forward_backward_output, lambda body: protobuf_results.sample_response(body, 3)]
)
@pytest.mark.parametrize("body", [b"", b"<html>502</html>", b'{"error":"x"}', b"\xff" * 40, GOOD_SAMPLE[:-1]])
def test_what_is_no_message_is_an_error_of_ours(read, body):
    with pytest.raises(APIResponseValidationError, match=r"The server's (sample|forward_backward) result"):
        read(body)


def is_well_formed(response):
    for sequence in response.sequences:
        assert sequence.stop_reason in ("stop", "length")
        assert sequence.logprobs is None or len(sequence.logprobs) == len(sequence.tokens)
    return repr(response) + repr((response.prompt_logprobs, response.topk_prompt_logprobs))


def mutated(body, rng):
    changed = bytearray(body)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(changed))
        kind = rng.randrange(4)
        if kind == 0:
            changed[place] = rng.randrange(256)
        elif kind == 1:
            del changed[place : place + rng.randint(1, 8)]
        elif kind == 2:
            changed[place:place] = rng.randbytes(rng.randint(1, 8))
        else:
            del changed[max(1, place) :]
        changed = changed or bytearray(1)
    return bytes(changed)


@pytest.mark.parametrize("seed", range(8))
def test_mutated_bytes_are_understood_or_refused(seed):
    rng = random.Random(seed)
    refused = 0
    for _ in range(250):
        try:
            is_well_formed(protobuf_results.sample_response(mutated(GOOD_SAMPLE, rng), 3))
        except APIResponseValidationError:
            refused += 1
        try:
            for each in protobuf_results.forward_backward_output(mutated(GOOD_OUTPUT, rng)).loss_fn_outputs:
                assert all(math.prod(tensor.shape) == len(tensor.data) for tensor in each.values())
        except APIResponseValidationError:
            refused += 1
    assert 100 < refused < 500


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=1, max_size=60))
def test_any_bytes_are_understood_or_refused(body):
    for read in (
        protobuf_results.forward_backward_output,
        lambda b: is_well_formed(protobuf_results.sample_response(b, 3)),
    ):
        with contextlib.suppress(APIResponseValidationError):  # and nothing else
            read(body)
