"""Testing: doubles that ship with the package.

`FakeClock` and `StepRuntime` run the real actors on one thread, in an order drawn from a seed, on a clock that moves
only when nothing else can; `SimulatedNetwork` joins them to the embedded server's core and loses, delays and repeats
what crosses it.
"""

from __future__ import annotations

from tinker_actors.testing.clock import FakeClock
from tinker_actors.testing.network import Mishaps, SimulatedNetwork
from tinker_actors.testing.simulation import Simulation
from tinker_actors.testing.step import StepRuntime

__all__ = ["FakeClock", "Mishaps", "SimulatedNetwork", "Simulation", "StepRuntime"]
