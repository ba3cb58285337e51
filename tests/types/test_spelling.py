"""Keyword arguments that do not exist."""

from __future__ import annotations

import traceback

import msgspec
import pytest

import tinker_actors as ta
from tinker_actors.protocol.requests.checks import check_batch
from tinker_actors.types.spelling import spelled


@pytest.mark.parametrize(
    ("make", "written", "meant"),
    [
        (ta.Config, "base_ulr", "base_url"),
        (ta.Config, "max_connection", "max_connections"),
        (ta.Config, "heartbeatInterval", "heartbeat_interval"),
        (ta.SamplingParams, "max_token", "max_tokens"),
        (ta.SamplingParams, "temprature", "temperature"),
        (ta.AdamParams, "learningrate", "learning_rate"),
        (ta.LoraConfig, "ranks", "rank"),
        (ta.ServiceClient, "baseurl", "base_url"),
        (ta.ServiceClient, "apikey", "api_key"),
        (ta.local_server, "standins", "stand_ins"),
    ],
)
def test_a_misspelt_argument_is_answered_with_the_nearest_one(make, written, meant):
    with pytest.raises(TypeError, match=f"{make.__name__} has no argument '{written}'; did you mean '{meant}'\\?"):
        make(**{written: 1})


def test_a_name_that_is_near_nothing_is_answered_with_all_there_are():
    with pytest.raises(TypeError, match="has no argument 'zzz'; there is max_tokens, seed, stop, temperature, top_k"):
        ta.SamplingParams(zzz=1)


def test_other_mistakes_keep_their_words():
    with pytest.raises(TypeError, match="positional"):
        ta.Config("http://127.0.0.1:1")
    with pytest.raises(ta.ConfigError, match="max_submits"):
        ta.Config(max_submits="many")

    @spelled("broken")
    def broken(argument=None):
        raise TypeError("broken() got an unexpected keyword argument 'argumnt'")

    with pytest.raises(TypeError, match=r"broken\(\) got"):
        broken()


def test_records_are_read_from_the_wire_as_ever():
    assert msgspec.convert({"max_tokens": 3}, ta.SamplingParams).max_tokens == 3
    assert msgspec.json.encode(ta.SamplingParams(max_tokens=3, temperature=0.5)).startswith(b'{"max_tokens":3')


@pytest.mark.parametrize(
    "make",
    [
        lambda: ta.Config(api_key="hush-hush", max_submits="many"),
        lambda: ta.Config(api_key="hush-hush", max_submit=1),
        lambda: ta.ServiceClient(api_key="hush-hush", base_url="nonsense"),
        lambda: ta.ServiceClient(api_key="hush-hush", baseurl="http://127.0.0.1:1"),
    ],
)
def test_no_frame_of_ours_holds_a_key_where_an_argument_is_refused(make):
    with pytest.raises((TypeError, ta.ConfigError)) as caught:
        make()
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    ours = [frame for frame in frames if frame.f_code.co_filename != __file__]
    assert ours
    assert not [frame for frame in ours if "hush-hush" in repr(frame.f_locals)]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ta.Datum([1], {"weight": [1.0]}), "'weight' (did you mean 'weights'?): pass a numpy array"),
        (lambda: check_batch([ta.Datum([1])], "crossentropy", forward_only=False), "did you mean 'cross_entropy'?"),
        (lambda: check_batch([ta.Datum([1])], 7, forward_only=False), "There is no loss function 7; the known ones"),
    ],
)
def test_other_names_are_answered_with_the_nearest_one_too(make, says):
    with pytest.raises(ta.InvalidInputError) as caught:
        make()
    assert says in str(caught.value)
