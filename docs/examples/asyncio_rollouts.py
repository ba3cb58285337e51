"""Asynchronous reinforcement learning: rollouts never wait for the trainer, nor it for them.

Workers sample the newest weights and put what they learnt into a queue; the trainer takes batches from it, steps and
publishes. `max_lag` keeps samples from being drawn with weights that are too old; what grows too old in the queue is
left out. Cancelling a worker cancels its sample on the server; a step that was called is never cancelled. Runs in some
seconds on the embedded server.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator

import tinker_actors as ta
from tinker_actors.data import policy_datum

MODEL = "local/tiny"
PARAMS = ta.SamplingParams(max_tokens=4, stop=[])
ADAM = ta.AdamParams(learning_rate=0.02)
STEPS, BATCH, WORKERS, TURNS, MAX_LAG = 6, 16, 32, 2, 2


class Conversation:
    """A toy environment: two turns, and a reward for even tokens in each."""

    def __init__(self, seed: int) -> None:
        self.observation = ta.ModelInput.from_ints(list(f"{random.Random(seed).randrange(100)}: ".encode()))
        self.turns: list[tuple[ta.ModelInput, ta.SampledSequence]] = []
        self.oldest: int | None = None

    @property
    def done(self) -> bool:
        """Whether it is over."""
        return len(self.turns) == TURNS

    def act(self, sequence: ta.SampledSequence, version: int | None) -> None:
        """Say something, and see what follows."""
        self.turns.append((self.observation, sequence))
        self.oldest = version if self.oldest is None else self.oldest
        self.observation = self.observation.append(ta.EncodedTextChunk(sequence.tokens))

    def data(self) -> list[ta.Datum]:
        """Return what can be learnt from it, a datum for each turn."""
        graded = [(seen, s, sum(t % 2 == 0 for t in s.tokens) / len(s.tokens) - 0.5) for seen, s in self.turns]
        return [policy_datum(seen, sequence, advantage) for seen, sequence, advantage in graded]


async def worker(policy: ta.Policy, queue: asyncio.Queue[Conversation], seeds: Iterator[int]) -> None:
    """Have conversations for ever."""
    while True:
        conversation = Conversation(next(seeds))
        while not conversation.done:
            response = await policy.sample(conversation.observation, 1, PARAMS)
            conversation.act(response.sequences[0], response.weights_version)
        await queue.put(conversation)


async def batch(queue: asyncio.Queue[Conversation], oldest: int) -> list[Conversation]:
    """Take a batch of conversations that began with these weights or newer ones."""
    found: list[Conversation] = []
    while len(found) < BATCH:
        conversation = await queue.get()
        if conversation.oldest is not None and conversation.oldest >= oldest:
            found.append(conversation)
    return found


async def main() -> None:
    """Train on what the workers bring."""
    async with ta.ServiceClient(base_url="local:") as service, asyncio.TaskGroup() as tasks:
        training = await service.create_lora_training_client(MODEL, rank=8, seed=0)
        policy, queue = training.policy("main", max_lag=MAX_LAG), asyncio.Queue(2 * BATCH)
        await policy.publish()
        seeds = iter(range(10**9))
        workers = [tasks.create_task(worker(policy, queue, seeds)) for _ in range(WORKERS)]
        for step in range(STEPS):
            rollouts = await batch(queue, step - MAX_LAG)
            data = [datum for conversation in rollouts for datum in conversation.data()]
            # Called in this order, so the weights that are published have this step in them.
            trained, published = training.step(data, "importance_sampling", ADAM), policy.publish()
            seconds, version = (await trained).seconds, await published
            print(
                f"weights {version} after {seconds:.2f} s; the oldest rollout was of {min(c.oldest for c in rollouts)}"
            )
        for each in workers:
            each.cancel()


if __name__ == "__main__":
    asyncio.run(main())
