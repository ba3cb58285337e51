"""Server limits: shared by those who talk to one server with one key, and announced to all their lanes."""

from __future__ import annotations

import gc
import weakref

import pytest

from tinker_actors.actors.lane.server_limits import ServerLimits, server_name, shared_server_limits
from tinker_actors.config import Config
from tinker_actors.runtime.actor import RuntimeActor
from tinker_actors.testing.step import StepRuntime

URL = "https://tinker.example.com"
PLATFORM = object()


def limits(url=URL, **config):
    return shared_server_limits(Config(base_url=url, **config), PLATFORM)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://Tinker.example.com", "https://tinker.example.com:443/"),
        ("http://h/base", "http://h:80/base/"),
        ("http://[::1]:8000", "http://[::1]:8000/"),
    ],
)
def test_a_server_is_the_same_however_its_address_is_written(one, other):
    assert server_name(one) == server_name(other)


@pytest.mark.parametrize("other", ["http://tinker.example.com", f"{URL}:8443", f"{URL}/base", "https://example.com"])
def test_another_address_is_another_server(other):
    assert server_name(other) != server_name(URL)


def test_they_are_shared_by_server_and_key_whatever_the_other_settings():
    one = limits(api_key="tml-a")
    assert limits(f"{URL}/", api_key="tml-a", seed=3) is one
    assert limits(api_key="tml-b") is not one
    assert limits("https://other.example.com", api_key="tml-a") is not one
    assert shared_server_limits(Config(base_url=URL, api_key="tml-a"), object()) is not one


def test_the_key_is_the_one_that_is_sent():
    one = limits(api_key="tml-a")
    assert limits(api_key="tml-b", default_headers={"x-api-key": "tml-a"}) is one


def test_what_nobody_uses_is_forgotten():
    gone = weakref.ref(limits(api_key="tml-a"))
    kept = limits(api_key="tml-kept")
    gc.collect()
    assert gone() is None
    assert limits(api_key="tml-kept") is kept


class Hearing(RuntimeActor):
    def __init__(self, executor):
        super().__init__(executor)
        self.heard = []

    def receive(self, message):
        self.heard.append(message)


def test_what_is_announced_reaches_every_lane_that_lives():
    runtime, shared = StepRuntime(seed=1), ServerLimits()
    lanes = [Hearing(runtime) for _ in range(3)]
    for lane in lanes:
        runtime.run(lane)
        shared.join(lane.actor_ref)
    lanes[0].actor_ref.stop(block=False)
    while runtime.step():
        pass
    shared.join(lanes[1].actor_ref)
    shared.announce("eased")
    while runtime.step():
        pass
    assert [lane.heard for lane in lanes] == [[], ["eased"], ["eased"]]
    assert len(shared._lanes) == 2
