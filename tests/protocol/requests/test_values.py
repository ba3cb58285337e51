"""Single arguments: what becomes a plain value, and what is refused."""

from __future__ import annotations

import enum
import math

import numpy as np
import pytest

from tinker_actors.errors import InvalidInputError
from tinker_actors.protocol.requests.values import checked_access_token, checked_loss_config, checked_metadata
from tinker_actors.types.scalars import checked_flag, checked_int, checked_number, checked_text, shown


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


@pytest.mark.parametrize(
    "metadata",
    [
        {"a": object()}, {"a": "\ud800"}, {("a",): 1}, 5, [("a", 1)], {"a": math.nan}, {"a": [1, np.float32("inf")]},
        {"a": b"x"}, {"a": {1}}, {"a": {"b": np.array([math.nan])}}, {"\udce9": 1},
    ],
)  # fmt: skip
def test_metadata_that_can_not_be_sent_are_refused(metadata):
    with pytest.raises(InvalidInputError, match="user_metadata"):
        checked_metadata(metadata)


def test_metadata_in_themselves_are_refused():
    ring = {}
    ring["a"] = ring
    with pytest.raises(InvalidInputError, match="contains itself"):
        checked_metadata(ring)


@pytest.mark.parametrize("value", [True, np.True_, 1, np.int64(1), np.array(True)])
def test_what_means_true_is_true(value):
    assert checked_flag(value, "x") is True


@pytest.mark.parametrize("value", ["false", "true", None, 2, 1.0, [], [True], np.array([True])])
def test_what_is_merely_truthy_or_falsy_is_no_flag(value):
    with pytest.raises(InvalidInputError, match="must be True or False"):
        checked_flag(value, "x")


@pytest.mark.parametrize("value", [2.0, True, np.True_, "2", np.timedelta64(2), None, [2], np.array([2]), 2**63])
def test_what_is_no_integer_of_64_bits_is_refused(value):
    with pytest.raises(InvalidInputError, match=r"^x is "):
        checked_int(value, "x")


@pytest.mark.parametrize("value", [np.int8(2), np.uint64(2), np.array(2)])
def test_scalars_of_arrays_are_taken(value):
    assert checked_int(value, "x") == 2
    assert type(checked_int(value, "x")) is int
    assert checked_number(value, "x") == 2.0


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.complex64(1 + 1j), np.timedelta64(2, "s"), "1", [1.0], np.array([1.0])])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(InvalidInputError, match="must be a number"):
        checked_number(value, "x")


def test_a_secret_is_not_shown():
    for bad in ("tml-secret\ud800", " ", b"tml-secret"):
        with pytest.raises(InvalidInputError, match="weights_access_token") as caught:
            checked_access_token(bad)
        assert "secret" not in str(caught.value)


class Names(str, enum.Enum):  # noqa: UP042 - what is tested
    TINY = "local/tiny"


@pytest.mark.parametrize("text", [Names.TINY, np.str_("local/tiny")])
def test_text_of_a_derived_class_is_plain_text(text):
    assert checked_text(text, "x") == "local/tiny"
    assert type(checked_text(text, "x")) is str


class Broken:
    def __repr__(self):
        raise RuntimeError("no repr")


def test_every_value_can_be_shown():
    assert shown(Broken()) == "<Broken>"
    assert shown(10**5000) == "<int>"
    assert len(shown("x" * 10_000)) < 200
    assert "\n" not in shown(np.zeros((3, 3)))
