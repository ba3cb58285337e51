"""A server that gives one request id to many samples, and keeps one result under it: nobody gets another's tokens."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import wait

import pytest

import tinker_actors as ta

from .bending import Bending

HANG = 60.0
COUNT = 200
PARAMS = ta.SamplingParams(max_tokens=2)


class Colliding(Bending):
    """Its samples tell in their tokens whose they are. It knows a request that comes again by its key.

    Args:
        request_id: gives the id of the sample that is submitted as the how manieth.
    """

    def __init__(self, request_id):
        super().__init__(asample=self._accept, retrieve_future=self._hold)
        self.go_on = threading.Event()
        self._give, self._submitted = request_id, itertools.count()
        self._known, self._lock = {}, threading.Lock()

    def _hold(self, _):
        return None if self.go_on.is_set() else (200, {"type": "try_again"})

    def _accept(self, asked):
        key = self.asking.headers["X-Idempotency-Key"]
        with self._lock:
            if key in self._known:
                return 200, {"request_id": self._known[key]}
            request_id = self._known[key] = self._give(next(self._submitted))
        (prompt,) = asked["prompt"]["chunks"]
        sequence = {"stop_reason": "length", "tokens": [prompt["tokens"][0], 0], "logprobs": [-0.5, -0.25]}
        self._results[request_id] = {"type": "sample", "sequences": [sequence]}  # in the place of what was there
        return 200, {"request_id": request_id}


def sampler_of(server):
    service = ta.ServiceClient(base_url=server.url)
    sampler = service.create_sampling_client(base_model="fake")
    sampler.result(HANG)
    return service, sampler


def draw(sampler, number):
    return sampler.sample(ta.ModelInput.from_ints([number]), 1, PARAMS)


def others_tokens(futures):
    """Return the numbers of those samples that got the tokens of another."""
    return [
        number
        for number, future in enumerate(futures, start=1)
        if future.exception(0) is None and future.result(0).sequences[0].tokens[0] != number
    ]


@pytest.mark.parametrize(
    "request_id",
    [
        lambda n: "r" if n < 30 else f"r{n}",
        lambda n: f"r{n % 5}" if n < 60 else f"r{n}",
        lambda n: f"two {n // 2}" if n < 60 else f"r{n}",
    ],
    ids=["one for the first thirty", "five for the first sixty", "each of sixty twice"],
)
def test_of_two_hundred_samples_none_has_another_s_tokens(request_id):
    with Colliding(request_id) as server:
        service, sampler = sampler_of(server)
        futures = [draw(sampler, number) for number in range(1, COUNT + 1)]
        # A result that is fetched before it is known that its id was given twice can't be told from the right one.
        wait([future.accepted for future in futures], HANG)
        server.go_on.set()
        assert not wait(futures, HANG).not_done
        assert others_tokens(futures) == []
        failed = [future.exception(0) for future in futures if future.exception(0) is not None]
        assert all(isinstance(error, ta.APIResponseValidationError) for error in failed)
        assert len(failed) < COUNT / 4
        service.close()


def test_an_id_that_comes_again_when_its_result_was_fetched_is_no_fault():
    with Colliding(lambda _: "r") as server:
        server.go_on.set()
        service, sampler = sampler_of(server)
        for number in range(1, 21):
            assert draw(sampler, number).result(HANG).sequences[0].tokens[0] == number
        assert len(server.times("asample")) == 20
        service.close()
