"""The `*_async` methods take what their twins take, and say so to whoever asks."""

from __future__ import annotations

import asyncio
import inspect

import pytest

import tinker_actors as ta
from tinker_actors.clients.twins import awaits, submits
from tinker_actors.runtime.futures import APIFuture, resolved

CLIENTS = [ta.ServiceClient, ta.TrainingClient, ta.SamplingClient, ta.Policy, ta.PinnedPolicy]
TWINS = [
    pytest.param(getattr(client, name.removesuffix("_async")), method, id=f"{client.__name__}.{name}")
    for client in CLIENTS
    for name, method in inspect.getmembers(client, inspect.isfunction)
    if name.endswith("_async") and not name.startswith("_")
]


@pytest.mark.parametrize(("method", "twin"), TWINS)
def test_a_twin_takes_what_the_method_takes_and_gives_what_it_gives_or_what_awaiting_that_gives(method, twin):
    assert inspect.iscoroutinefunction(twin)
    assert twin.__doc__
    assert twin.__qualname__.split(".")[-1] == f"{method.__name__}_async"
    ours, theirs = inspect.signature(twin), inspect.signature(method)
    assert list(ours.parameters.values()) == list(theirs.parameters.values())
    given = theirs.return_annotation
    awaited = given.removeprefix("APIFuture[").removesuffix("]") if given.startswith("APIFuture[") else given
    submits_only = ours.return_annotation.startswith("APIFuture[")
    assert ours.return_annotation == (given if submits_only else awaited)


def test_all_twins_are_looked_at():
    assert len(TWINS) >= 20
    assert {param.values[1].__name__ for param in TWINS} >= {"sample_async", "step_async", "get_info_async"}


class Client:
    def submit(self, number: int, *, twice: bool = False) -> APIFuture[int]:
        """Submit."""
        return resolved(number * (2 if twice else 1))

    @submits(submit)
    def submit_async(self) -> None:
        """Submit, async."""

    @awaits(submit)
    def wait_async(self) -> None:
        """Submit and await."""


class Other(Client):
    def submit(self, number: int, *, twice: bool = False) -> APIFuture[int]:
        return super().submit(number + 1, twice=twice)


def test_a_twin_calls_the_method_of_its_object():
    async def main():
        return [
            (await Client().submit_async(3, twice=True)).result(0),
            await Client().wait_async(number=3),
            await Other().wait_async(3, twice=True),
        ]

    assert asyncio.run(main()) == [6, 3, 8]


def test_what_a_method_does_not_take_its_twin_does_not_take():
    with pytest.raises(TypeError, match=r"submit\(\) got an unexpected keyword argument 'thrice'"):
        asyncio.run(Client().wait_async(3, thrice=True))


def test_a_twin_of_a_handle_gives_the_handle():
    class Maker:
        def make(self) -> Made:
            return Made()

        @awaits(make)
        def make_async(self) -> None:
            """Make and await."""

    class Made:
        def __await__(self):
            yield from resolved(None).__await__()
            return self

    assert isinstance(asyncio.run(Maker().make_async()), Made)
    assert inspect.signature(Maker.make_async).return_annotation == "Made"
