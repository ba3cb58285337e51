"""Single arguments: what becomes a plain value, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tinker_actors.errors import InvalidInputError
from tinker_actors.protocol.values import checked_loss_config


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
