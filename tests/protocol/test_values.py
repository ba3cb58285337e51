"""Single arguments: what becomes a plain value, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tinker_actors.errors import InvalidInputError
from tinker_actors.protocol.values import checked_loss_config, checked_metadata, checked_number


def test_a_config_of_numbers_and_strings_becomes_plain_values():
    config = checked_loss_config({"a": 1, "b": np.float32(0.5), "c": "loss-1"})
    assert config == {"a": 1.0, "b": 0.5, "c": "loss-1"}
    assert type(config["b"]) is float
    assert checked_loss_config(None) is None
    assert checked_loss_config({}) is None


@pytest.mark.parametrize("value", [math.nan, math.inf, None, [1.0], True, 1j, {}])
def test_a_config_value_that_is_neither_is_refused(value):
    with pytest.raises(InvalidInputError, match=r"loss_fn_config\['clip'\]"):
        checked_loss_config({"clip": value})


@pytest.mark.parametrize("config", [5, [("clip", 1.0)], "clip"])
def test_a_config_that_is_no_dict_is_refused(config):
    with pytest.raises(InvalidInputError, match="not a dict"):
        checked_loss_config(config)


def test_an_integer_that_no_float_can_hold_is_not_finite():
    with pytest.raises(InvalidInputError, match="temperature is inf; it must be finite"):
        checked_number(10**400, "temperature")


def test_metadata_become_plain_and_nobody_elses():
    inner = [np.int64(1)]
    plain = checked_metadata({"a": inner, 2: None})
    inner.append(5)
    assert plain == {"a": [1], "2": None}
    assert checked_metadata(None) is None
    assert checked_metadata({}) == {}


@pytest.mark.parametrize("metadata", [{"a": object()}, {"a": "\ud800"}, {("a",): 1}, 5, [("a", 1)]])
def test_metadata_that_can_not_be_sent_are_refused(metadata):
    with pytest.raises(InvalidInputError, match="user_metadata"):
        checked_metadata(metadata)
