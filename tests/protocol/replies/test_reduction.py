"""Reduction of chunk results (wire protocol 3.10)."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinker_actors.protocol.replies.reduction import merge_outputs
from tinker_actors.types import ForwardBackwardOutput, TensorData


def output(count: int, kind: str = "ArrayRecord", **metrics: float) -> ForwardBackwardOutput:
    """`count` datums; a metric's `__` stands for the colon."""
    records = [{"logprobs": TensorData([float(i)], dtype="float32")} for i in range(count)]
    return ForwardBackwardOutput(kind, records, {name.replace("__", ":"): value for name, value in metrics.items()})


def merged(*outputs: ForwardBackwardOutput) -> dict[str, float]:
    return merge_outputs(outputs).metrics


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("x:sum", (1.0, 5.0), 6.0),
        ("x:min", (1.0, 5.0), 1.0),
        ("x:max", (1.0, 5.0), 5.0),
        ("x:mean", (1.0, 5.0), 4.0),  # weighted 1 : 3
        ("x:slack", (4.0, 0.0), 3.0),
        ("x:hash2", (3.0, -1.0), 2.0),
        ("x:hash2", (-1.0, -1.0), 2**64 - 2),
    ],
)
def test_each_reduction_follows_its_rule(name, values, expected):
    key = name.replace(":", "__")
    assert merged(output(1, **{key: values[0]}), output(3, **{key: values[1]})) == {name: expected}


def test_unique_values_are_numbered_behind_the_first():
    chunks = [output(1, u__unique=value) for value in (1.0, 7.0, 7.0)]
    assert merged(*chunks) == {"u:unique": 1.0, "u:unique_1": 7.0, "u:unique_2": 7.0}


def test_only_keys_of_every_chunk_are_kept():
    assert merged(output(1, a__sum=1, b__sum=1), output(1, a__sum=2, c__sum=1)) == {"a:sum": 3}


def test_keys_that_nothing_says_how_to_merge_are_kept_for_one_chunk_only():
    odd = {"nocolon": 1.0, "a:b:mean": 2.0, "lr:last": 3.0}
    one = ForwardBackwardOutput("T", [], dict(odd))
    assert merged(one) == odd
    assert merged(one, ForwardBackwardOutput("T", [], dict(odd))) == {}


def test_a_single_chunk_is_reduced_like_several():
    assert merged(output(2, loss__sum=4.0, n__mean=2.0, s__slack=9.0, u__unique=1.0, h__hash2=-1.0)) == {
        "loss:sum": 4.0,
        "n:mean": 2.0,
        "s:slack": 0.0,
        "u:unique": 1.0,
        "h:hash2": 2**64 - 1,
    }


def test_a_mean_over_no_outputs_is_even_instead_of_an_error():
    assert merged(output(0, x__mean=1.0), output(0, x__mean=3.0)) == {"x:mean": 2.0}


@pytest.mark.parametrize("name", ["sum", "min", "max", "mean", "slack", "hash2"])
@pytest.mark.parametrize("values", [(math.nan, 1.0), (1.0, math.nan)])
def test_a_nan_shows_in_the_result_whatever_the_order(name, values):
    result = merged(*(output(1, **{f"x__{name}": value}) for value in values))
    assert math.isnan(result[f"x:{name}"])


def test_outputs_are_joined_in_chunk_order_under_the_first_type():
    first, second = output(2, "First"), output(1, "Second")
    result = merge_outputs([first, second])
    assert result.loss_fn_output_type == "First"
    assert result.loss_fn_outputs == [*first.loss_fn_outputs, *second.loss_fn_outputs]


def test_merging_nothing_is_refused():
    with pytest.raises(ValueError, match="nothing to merge"):
        merge_outputs([])


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(-1000, 1000), min_size=1, max_size=5), min_size=1, max_size=6))
def test_any_chunking_gives_the_result_of_the_whole(chunks):
    def whole(values: list[int]) -> ForwardBackwardOutput:
        return output(
            len(values), s__sum=sum(values), lo__min=min(values), hi__max=max(values), m__mean=sum(values) / len(values)
        )

    flat = [value for chunk in chunks for value in chunk]
    result = merged(*(whole(chunk) for chunk in chunks))
    assert result == pytest.approx(whole(flat).metrics)
