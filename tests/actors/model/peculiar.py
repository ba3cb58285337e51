"""A service on a simulated server that refuses data requests in some dialects."""

from __future__ import annotations

import tinker_actors as ta
from tinker_actors.local.core import Answer as CoreAnswer
from tinker_actors.testing import Simulation
from tinker_actors.testing.network import CALM

PROTOBUF, JSON = "protobuf", "json"

DATA = ("/forward_backward", "/forward")


def datum(first):
    ids = [first, first + 1, first + 2]
    values = {"target_tokens": [token + 1 for token in ids], "weights": [1.0] * 3}
    return ta.Datum(ta.ModelInput.from_ints(ids), values)


class Peculiar:
    """A service on a server that refuses data requests in some dialects with some status."""

    def __init__(self, *refused, status=400, config=True, seed=0, mishaps=CALM, **options):
        self.refused = refused
        self.takes = lambda seen: True
        self.simulation = Simulation(seed, mishaps, creation_timeout=1000.0, **options)
        self.seen = []
        core = self.simulation.core
        answer = core.handle

        def handle(request, now):
            if request.path.endswith("client/config") and not config:
                return CoreAnswer(404, b'{"detail":"Not Found"}')
            if request.path.endswith(DATA):
                dialect = PROTOBUF if "protobuf" in request.headers["content-type"] else JSON
                taken = dialect not in self.refused and self.takes(self.seen)
                self.seen.append((dialect, taken))
                if not taken:
                    return CoreAnswer(status, b'{"detail":"not understood"}')
            return answer(request, now)

        core.handle = handle
        self.service = self.simulation.service()
        self.trainer = self.service.create_lora_training_client("local/ledger", rank=4, seed=1)

    def train(self, steps=2):
        """Run some steps that are all called at once; return what they say of the weights."""
        futures = []
        for i in range(steps):
            data = [datum(10 * i + j) for j in range(3)]
            futures.append(self.trainer.forward_backward(data, "cross_entropy"))
            futures.append(self.trainer.optim_step(ta.AdamParams(learning_rate=0.1 * (i + 1))))
        futures.append(self.trainer.forward([datum(1)], "cross_entropy"))
        self.simulation.wait_for(*futures)
        return [future.result(0).metrics for future in futures]

    def close(self):
        self.simulation.close(self.service)
