"""Reinforcement learning as a program of actors: workers sample and a learner trains, both through proxies.

The actors are the program's own, of pykka's. What they hold of the model are proxies: calling one returns a future at
once, so a worker waits in its own thread and holds up nobody, and a step that was called is done whatever becomes of
the actor that called it. The task is that of `rl_thread_pool.py`: completions are better the more of their tokens are
even.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pykka

import tinker_actors as ta
from tinker_actors.data import policy_datum

MODEL = "local/tiny"
PROBLEMS = [ta.ModelInput.from_ints(list(f"{a} + {b} = ".encode())) for a in range(4) for b in range(4)]
PARAMS = ta.SamplingParams(max_tokens=8, stop=[])
GREEDY = ta.SamplingParams(max_tokens=8, stop=[], temperature=0.0)
ADAM = ta.AdamParams(learning_rate=0.02)
STEPS, WORKERS, SAMPLES = 4, 8, 8


class Stepped(NamedTuple):
    """A training step is done, or has failed; told to the learner."""

    result: ta.StepResult | None
    error: BaseException | None


def grade(sequence: ta.SampledSequence) -> float:
    """Return the share of even tokens."""
    return sum(token % 2 == 0 for token in sequence.tokens) / len(sequence.tokens)


class RolloutWorker(pykka.ThreadingActor):
    """Samples problems with the newest weights."""

    def __init__(self, policy: ta.PolicyProxy) -> None:
        super().__init__()
        self.policy = policy

    def rollout(self, problem: ta.ModelInput) -> list[ta.Datum]:
        """Sample a problem several times, and return what can be learnt from it."""
        response = self.policy.sample(problem, SAMPLES, PARAMS).get(timeout=900)
        rewards = [grade(sequence) for sequence in response.sequences]
        mean = sum(rewards) / len(rewards)
        graded = zip(response.sequences, rewards, strict=True)
        return [policy_datum(problem, sequence, reward - mean) for sequence, reward in graded if reward != mean]


class Learner(pykka.ThreadingActor):
    """Trains on what the workers bring, and hears of each step as a message."""

    def __init__(self, trainer: ta.TrainingProxy, policy: ta.PolicyProxy, workers: list[Any]) -> None:
        super().__init__()
        self.trainer = trainer
        self.policy = policy
        self.workers = workers
        self.seconds = 0.0

    def on_receive(self, message: Any) -> None:
        """Hear of a step."""
        if isinstance(message, Stepped):
            if message.error is not None:
                raise message.error
            assert message.result is not None
            self.seconds += message.result.seconds

    def learn(self, step: int) -> int:
        """Publish the weights, have the workers sample them, train on that; return from how much."""
        self.policy.publish.defer()  # samples wait for it
        problems = PROBLEMS[step % 2 :: 2]
        rollouts = [worker.rollout(problem) for worker, problem in zip(self.workers, problems, strict=True)]
        data = [datum for group in pykka.get_all(rollouts, timeout=900) for datum in group]
        if data:
            self.trainer.step(data, "importance_sampling", ADAM).pipe_to(self.actor_ref, Stepped)
        return len(data)

    def evaluate(self) -> float:
        """Return the mean grade over all problems, with the weights after everything that was called so far."""
        self.policy.publish().get(timeout=900)
        grades = [
            self.policy.sample(problem, 1, GREEDY).map(lambda response: grade(response.sequences[0]))
            for problem in PROBLEMS
        ]
        first, *others = grades
        total = first.join(*others).reduce(lambda so_far, graded: so_far + graded, 0.0)
        return total.get(timeout=900) / len(PROBLEMS)


def main() -> None:
    """Train for some steps, evaluating before and after."""
    with ta.ServiceClient(base_url="local:") as service:
        made = service.proxy().create_lora_training_client(MODEL, rank=8, seed=0)
        trainer = made.get(timeout=60).proxy()
        policy = trainer.policy("main").get().proxy()
        workers = [RolloutWorker.start(policy).proxy() for _ in range(WORKERS)]
        learner = Learner.start(trainer, policy, workers).proxy()
        try:
            print(f"evaluation before: {learner.evaluate().get():.3f}")
            for step in range(STEPS):
                print(f"step {step}: {learner.learn(step).get()} completions")
            print(f"evaluation after: {learner.evaluate().get():.3f}")
            print(f"trained for {learner.seconds.get():.1f} s")
        finally:
            pykka.ActorRegistry.stop_all()  # the program's own actors; the clients' are not among them
        trainer.save_state("even").map(lambda saved: print("saved as", saved.path)).get(timeout=60)


if __name__ == "__main__":
    main()
