"""A whole service in a simulation: client actors, network and server core, from one seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from tinker_actors.actors.session.messages import SessionSettings
from tinker_actors.clients.service import ServiceClient
from tinker_actors.config import Config, resolve
from tinker_actors.local.core import ServiceCore
from tinker_actors.local.ledger import LedgerEngine
from tinker_actors.local.store.memory import MemoryStore
from tinker_actors.net.transport import Transport
from tinker_actors.protocol.session_life import NO_RECOVERY, LossPolicy
from tinker_actors.runtime.actor import Executor
from tinker_actors.runtime.clock import WallClock
from tinker_actors.runtime.delivery import Delivery
from tinker_actors.runtime.futures import APIFuture
from tinker_actors.testing.network import Mishaps, SimulatedNetwork
from tinker_actors.testing.step import StepRuntime


class Simulation:
    """Runs real client actors against a real server core with a ledger engine, on one thread.

    In the ledger the weights are a hash chain of the operations applied, so that their order and number show in one
    value.

    Args:
        seed: draws everything: schedule, network, jitter.
        mishaps: what goes wrong on the network.
        config: of the client; address and seed are filled in.

    Attributes:
        runtime: step it, or let `wait_for` do it.
        engine: the ledger.
        network: between them.
        core: the server.
    """

    def __init__(self, seed: int, mishaps: Mishaps | None = None, **config: Any) -> None:
        self.runtime = StepRuntime(seed)
        self.engine = LedgerEngine()
        ids = random.Random(f"ids {seed}")  # noqa: S311 - repeatable on purpose
        self.core = ServiceCore(self.engine, MemoryStore(), None, lambda: f"{ids.getrandbits(64):016x}")
        self.network = SimulatedNetwork(self.core, self.runtime, seed, mishaps or Mishaps())
        self._platform = _StepPlatform(self.runtime, self.network)
        self._config = resolve(Config(seed=seed, **config), base_url="http://127.0.0.1:1", env={})

    def service(self, on_loss: LossPolicy = NO_RECOVERY) -> ServiceClient:
        """Return a service client that lives in the simulation; all of them are one process's, with one key.

        Args:
            on_loss: what the loss of its session leads to.
        """
        return ServiceClient._over(self._platform, self._config, SessionSettings(on_loss=on_loss))

    def wait_for(self, *futures: APIFuture[Any], most: int = 200_000) -> None:
        """Step until these futures are done.

        Raises:
            AssertionError: they are not, and nothing more can happen, or `most` steps were not enough.
        """
        self.runtime.run_until(lambda: all(future.done() for future in futures), most=most)

    def close(self, service: ServiceClient) -> None:
        """End a service, stepping instead of waiting."""
        self.wait_for(service._shut("success", None, 30.0))


class _StepPlatform:
    """A platform on the step runtime."""

    def __init__(self, runtime: StepRuntime, network: SimulatedNetwork) -> None:
        self.control: Executor = runtime
        self.delivery: Delivery = runtime
        self.wall: WallClock = runtime.clock.now
        self._network = network

    def lane(self, name: str, config: Config) -> tuple[Executor, Callable[[], Transport]]:  # noqa: ARG002 - the port
        """Return the same runtime for every lane, and its end of the network."""
        return self.control, self._network.transport
