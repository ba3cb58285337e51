"""Samples given up at any moment on a bad network, to a server that never finishes one: none is left there."""

from __future__ import annotations

import random

import pytest

import tinker_actors as ta
from tinker_actors.testing import Mishaps, Simulation

PROMPT = ta.ModelInput.from_ints([1, 2, 3])
PARAMS = ta.SamplingParams(max_tokens=4)
COUNT = 30
# A copy of a request that the network delivers when all about it is over is news to the server, and beyond any client.
MISHAPS = Mishaps(twice=0.0)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("heard", [True, False])
def test_nothing_that_nobody_wants_is_left_at_the_server(seed, heard):
    simulation = Simulation(seed, MISHAPS, creation_timeout=1000.0, use_retrieve_futures=heard)
    service = simulation.service()
    sampler = service.create_sampling_client(base_model="local/ledger")
    simulation.wait_for(sampler._ready)
    simulation.network._work = lambda: None  # from now on it takes samples and does not come to them
    chance, runtime = random.Random(f"giving up {seed}"), simulation.runtime
    futures = []
    for _ in range(COUNT):
        timeout = chance.choice([None, chance.random() * 10.0])
        future = sampler.with_options(timeout=timeout).sample(PROMPT, 1, PARAMS)
        future._looked_at = True
        futures.append(future)
        if timeout is None:
            runtime.timers.call_at(runtime.clock.now() + chance.random() * 10.0, future.cancel)
    simulation.wait_for(*futures)
    begun, table = runtime.clock.now(), service._service.lanes.tables["sample"]
    runtime.run_until(lambda: not table)
    assert runtime.clock.now() - begun < 300.0
    assert list(simulation.core._state.futures.pending_of(str(service._service.session_id))) == []
    simulation.close(service)
