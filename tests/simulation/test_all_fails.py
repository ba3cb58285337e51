"""A server at which all fails, on the fake clock: whatever it answers, a client asks it less than once a second.

Samples, training, questions, creations and the heartbeats of several services with one key have one budget together.
"""

from __future__ import annotations

import pytest

import tinker_actors as ta
from tinker_actors.net.transport import Broken, Reply
from tinker_actors.testing import Simulation
from tinker_actors.testing.network import CALM

pytestmark = pytest.mark.slow

PROMPT = ta.ModelInput.from_ints([1, 2, 3])
PARAMS = ta.SamplingParams(max_tokens=2)
DATUM = ta.Datum(ta.ModelInput.from_ints([1, 2, 3]), {"target_tokens": [2, 3, 4], "weights": [1.0] * 3})
N = 400
LONG = 100.0
# The first rounds of every endpoint are over: that of the heartbeats, and of what was held for half a minute.
SETTLED = 45.0
BACK = 3.0  # seconds in which all is asked for again; what the server's work takes comes on top


def said(status, **headers):
    return Reply(status, {"content-type": "application/json", **headers}, b'{"detail":"simulated"}')


ANSWERS = {
    "429": said(429),
    "429, Retry-After 0": said(429, **{"retry-after": "0"}),
    "429, Retry-After 2": said(429, **{"retry-after": "2"}),
    "503": said(503),
    "503, Retry-After 0": said(503, **{"retry-after": "0"}),
    "500": said(500),
    "refused": Broken("connect", "connect", "simulated", False),
    "closed": Broken("closed", "wait", "simulated", True),
}


class World:
    """Services with one key, and a server that can be made to fail all it is asked."""

    def __init__(self, **config):
        self.simulation = Simulation(3, CALM, creation_timeout=600.0, **config)
        self.network, self.runtime = self.simulation.network, self.simulation.runtime
        self.services = [self.simulation.service() for _ in range(3)]
        self.samplers = [service.create_sampling_client(base_model="local/ledger") for service in self.services]
        self.trainers = [self.services[0].create_lora_training_client("local/ledger", rank=4) for _ in range(2)]
        self.futures = []
        for client in (*self.samplers, *self.trainers):
            self.simulation.wait_for(client._ready)
        self.train()  # so that no failure can be one of the dialect
        self.simulation.wait_for(*self.futures)
        self.futures.clear()
        self.asked = []
        self._carry = self.network.carry

    def fails(self, answer):
        def carry(request, deliver):
            self.asked.append((self.runtime.clock.now(), request.path.rsplit("/", 1)[-1]))
            self.network._later(0.02, lambda: deliver(answer))

        self.network.carry = carry

    def sample(self, count):
        self.futures += [self.samplers[number % 3].sample(PROMPT, 1, PARAMS) for number in range(count)]

    def train(self):
        for trainer in self.trainers:
            self.futures += [trainer.forward_backward([DATUM], "cross_entropy"), trainer.optim_step()]

    def ask(self):
        self.futures += [service._get_server_capabilities_future() for service in self.services]
        more = [service.create_sampling_client(base_model="local/ledger") for service in self.services]
        self.samplers += more
        self.futures += [sampler._ready for sampler in more]

    def run(self, seconds, each_second=lambda: None):
        end = self.runtime.clock.now() + seconds
        while self.runtime.clock.now() < end:
            each_second()
            until = min(end, self.runtime.clock.now() + 1.0)
            woken = []
            self.runtime.timers.call_at(until, lambda woken=woken: woken.append(True))
            self.runtime.run_until(lambda woken=woken: bool(woken))


@pytest.mark.parametrize("held", [0, 60])
@pytest.mark.parametrize("answer", ANSWERS)
def test_all_that_a_client_asks_together_is_less_than_one_request_a_second(answer, held):
    world = World()
    world.simulation.core.next_job = lambda _: None  # what was accepted is held when all begins to fail
    world.sample(held)
    world.run(1.0)
    begun = world.runtime.clock.now()
    world.fails(ANSWERS[answer])
    world.sample(N - held)
    world.train()
    world.run(LONG, world.ask)
    steady = [at - begun for at, _ in world.asked if at - begun >= SETTLED]
    assert len(steady) <= LONG - SETTLED
    for at in steady:  # and no ten seconds are worse; a heartbeat of each of them may come on top
        assert sum(at <= other < at + 10.0 for other in steady) <= 10 + 3
    assert [future for future in world.futures if future.done()] == []
    heartbeats = [at for at, name in world.asked if name == "session_heartbeat"]
    assert len(heartbeats) >= 5  # they have their turns


@pytest.mark.parametrize("outage", [1.0, LONG])
@pytest.mark.parametrize("answer", ["429", "503", "refused"])
def test_when_the_server_is_well_again_all_is_asked_for_at_once(answer, outage):
    world = World()
    world.fails(ANSWERS[answer])
    world.sample(N)
    world.train()
    world.run(outage)
    ended, submitted = world.runtime.clock.now(), []

    def noted(request, deliver):
        if request.path.endswith("asample"):
            submitted.append(world.runtime.clock.now() - ended)
        world._carry(request, deliver)

    world.network.carry = noted
    world.simulation.wait_for(*world.futures)
    assert len(submitted) == N
    assert max(submitted) < BACK
