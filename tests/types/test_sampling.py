"""Samples keep the form they came in and take the other one when it is asked for."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from tinker_actors.types import SampledSequence, SampleResponse
from tinker_actors.types.sampling import EMPTY_CELL, topk_arrays, topk_rows

TOKENS = np.array([5, 6], np.int32)
LOGPROBS = np.array([-0.5, -1.0], np.float32)


@pytest.mark.parametrize("sequence", [
    SampledSequence("stop", TOKENS, LOGPROBS, "a"),
    SampledSequence("stop", TOKENS.astype("<i4").tobytes(), LOGPROBS.astype("<f4").tobytes(), "a"),
    SampledSequence(stop_reason="stop", tokens=[5, 6], logprobs=[-0.5, -1.0], sequence_id="a"),
])  # fmt: skip
def test_a_sequence_has_lists_and_arrays_whatever_it_was_made_from(sequence):
    assert (sequence.tokens, sequence.logprobs) == ([5, 6], [-0.5, -1.0])
    assert [type(each) for each in (*sequence.tokens, *sequence.logprobs)] == [int, int, float, float]
    assert (sequence.tokens_np.dtype, sequence.logprobs_np.dtype) == (np.int32, np.float32)
    assert (sequence.tokens_np.tolist(), sequence.logprobs_np.tolist()) == ([5, 6], [-0.5, -1.0])
    assert (sequence.stop_reason, sequence.sequence_id, sequence.topk_logprobs) == ("stop", "a", None)


def test_what_is_given_is_kept_and_what_is_made_is_made_once():
    sequence = SampledSequence("stop", TOKENS)
    assert sequence.tokens_np is TOKENS
    assert sequence.tokens is sequence.tokens
    items = [1, 2]
    sequence = SampledSequence("length", items)
    assert sequence.tokens is items
    assert sequence.tokens_np is sequence.tokens_np


def test_an_array_that_came_as_bytes_is_made_once_and_is_the_callers_to_write_to():
    sequence = SampledSequence("length", TOKENS.astype("<i4").tobytes(), b"")
    assert repr(sequence) == "SampledSequence('length', 2 tokens, with logprobs)"
    assert pickle.loads(pickle.dumps(SampledSequence("length", TOKENS.tobytes()))).tokens == [5, 6]
    tokens = sequence.tokens_np
    tokens[0] = 7
    assert sequence.tokens_np is tokens
    assert sequence.tokens == [7, 6]
    assert sequence.logprobs == []


def test_a_list_is_made_only_when_it_is_asked_for():
    class Counted(np.ndarray):
        lists = 0

        def tolist(self):
            Counted.lists += 1
            return super().tolist()

    sequence = SampledSequence("stop", TOKENS.view(Counted), LOGPROBS.view(Counted))
    response = SampleResponse([sequence], prompt_logprobs=LOGPROBS.view(Counted))
    repr((sequence, response, sequence.tokens_np, response.prompt_logprobs_np))
    assert Counted.lists == 0
    assert sequence.tokens == [5, 6]
    assert sequence.tokens == [5, 6]
    assert Counted.lists == 1


def test_what_was_not_asked_for_is_none():
    sequence = SampledSequence("stop", [])
    response = SampleResponse([sequence])
    for name in ("logprobs", "logprobs_np", "topk_logprobs", "sequence_id"):
        assert getattr(sequence, name) is None
    for name in ("prompt_logprobs", "topk_prompt_logprobs", "weights_version", "target_prompt_logprobs"):
        assert getattr(response, name) is None
    assert response.prompt_logprobs_np is response.topk_prompt_logprobs_np is None
    assert response.prompt_cache_hit_tokens == 0


def test_none_in_a_list_of_prompt_logprobs_is_nan_in_the_array():
    from_list = SampleResponse([], [None, -1.0])
    from_array = SampleResponse([], np.array([math.nan, -1.0], np.float32))
    for response in (from_list, from_array):
        assert response.prompt_logprobs == [None, -1.0]
        assert response.prompt_logprobs_np.dtype == np.float32
        np.testing.assert_array_equal(response.prompt_logprobs_np, np.array([math.nan, -1.0], np.float32))


def test_nan_among_a_sequence_s_own_logprobs_stays_nan():
    assert math.isnan(SampledSequence("stop", [1], np.array([math.nan], np.float32)).logprobs[0])


ROWS = [None, [(5, -0.5), (7, -1.0)], [(6, -0.25)]]


def test_likeliest_tokens_have_both_forms():
    ids, logprobs = arrays = topk_arrays(ROWS)
    assert (ids.tolist(), logprobs.dtype) == ([[0, 0], [5, 7], [6, 0]], np.float32)
    assert logprobs.tolist() == [[EMPTY_CELL] * 2, [-0.5, -1.0], [-0.25, EMPTY_CELL]]
    for given in (ROWS, arrays):
        response = SampleResponse([SampledSequence("stop", [1], topk_logprobs=given)], topk_prompt_logprobs=given)
        assert response.topk_prompt_logprobs == response.sequences[0].topk_logprobs == ROWS
        np.testing.assert_array_equal(response.topk_prompt_logprobs_np[0], ids)


@pytest.mark.parametrize(
    ("ids", "logprobs", "rows"),
    [
        ([[1, 0, 2]], [[-1, EMPTY_CELL, -2]], [[(1, -1.0), (0, EMPTY_CELL), (2, -2.0)]]),  # a gap stays
        ([[0, 2]], [[EMPTY_CELL, -2]], [None]),
        ([[0]], [[-1]], [[(0, -1.0)]]),
        (np.zeros((2, 0)), np.zeros((2, 0)), [None, None]),
        (np.zeros((0, 2)), np.zeros((0, 2)), []),
    ],
)
def test_only_empty_cells_at_the_end_are_cut_off(ids, logprobs, rows):
    assert topk_rows(np.array(ids, np.int32), np.array(logprobs, np.float32)) == rows


@pytest.mark.parametrize("looked_at", [False, True])
def test_a_response_can_be_pickled(looked_at):
    response = SampleResponse([SampledSequence("stop", TOKENS, LOGPROBS, "a")], LOGPROBS, topk_arrays(ROWS), 3, 7)
    if looked_at:
        assert response.sequences[0].tokens
    copy = pickle.loads(pickle.dumps(response))
    assert (copy.sequences[0].tokens, copy.sequences[0].sequence_id) == ([5, 6], "a")
    assert (copy.prompt_logprobs, copy.topk_prompt_logprobs) == ([-0.5, -1.0], ROWS)
    assert (copy.prompt_cache_hit_tokens, copy.weights_version) == (3, 7)


def test_a_long_response_has_a_short_repr():
    sequence = SampledSequence("length", np.zeros(50_000, np.int32), np.zeros(50_000, np.float32), "s-1")
    assert repr(sequence) == "SampledSequence('length', 50000 tokens, with logprobs, 's-1')"
    response = SampleResponse([sequence] * 64, prompt_logprobs=np.zeros(10_000, np.float32), weights_version=2)
    assert repr(response) == "SampleResponse(64 sequences, weights_version=2)"
