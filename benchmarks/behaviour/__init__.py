"""Behaviour: not what a sample costs, but what becomes of it when things are difficult.

When there are too many, when others come first, when the interpreter is busy, when the network is bad. Each scenario
is a module as `benchmarks.scenarios.Scenario` describes; the clients that are measured are in `clients`, and all talk
to the stub server with limits (`benchmarks.stub.limited`).
"""

SCENARIOS: dict[str, str] = {
    "capacity": "benchmarks.behaviour.capacity",
    "priority": "benchmarks.behaviour.priority",
    "lanes": "benchmarks.behaviour.lanes",
    "asyncio": "benchmarks.behaviour.event_loop",
    "training": "benchmarks.behaviour.training",
    "soak": "benchmarks.behaviour.soak",
}
"""Module of each scenario, in the order in which they are run."""
