"""Reinforcement learning from a thread pool: a live policy that every thread samples, one version per episode.

The task is a toy: completions are better the more of their tokens are even. Runs in seconds on the embedded server; for
a real run change `MODEL`, `PROBLEMS` and `grade`, and drop `base_url`.
"""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import tinker_actors as ta
from tinker_actors.data import policy_datum

MODEL = "local/tiny"
PROBLEMS = [ta.ModelInput.from_ints(list(f"{a} + {b} = ".encode())) for a in range(4) for b in range(4)]
PARAMS = ta.SamplingParams(max_tokens=8, stop=[])
GREEDY = ta.SamplingParams(max_tokens=8, stop=[], temperature=0.0)
ADAM = ta.AdamParams(learning_rate=0.02)
STEPS, BATCH, SAMPLES = 4, 8, 8


def grade(sequence: ta.SampledSequence) -> float:
    """Return the share of even tokens."""
    return sum(token % 2 == 0 for token in sequence.tokens) / len(sequence.tokens)


def rollout(policy: ta.Policy, problem: ta.ModelInput) -> list[ta.Datum]:
    """Sample a problem several times with one version of the weights, and return what can be learnt from it."""
    with policy.pin() as pinned:
        response = pinned.sample(problem, SAMPLES, PARAMS).result(timeout=900)
    rewards = [grade(sequence) for sequence in response.sequences]
    mean = sum(rewards) / len(rewards)
    graded = zip(response.sequences, rewards, strict=True)
    return [policy_datum(problem, sequence, reward - mean) for sequence, reward in graded if reward != mean]


def evaluate(policy: ta.Policy) -> float:
    """Return the mean grade over all problems; what fails counts as 0."""
    responses = policy.map(PROBLEMS, 1, GREEDY, on_error="return")
    return sum(grade(r.sequences[0]) for _, r in responses if isinstance(r, ta.SampleResponse)) / len(PROBLEMS)


def main() -> None:
    """Train for some steps, evaluating now and then."""
    with ta.ServiceClient(base_url="local:") as service, ThreadPoolExecutor(64) as pool:
        training = service.create_lora_training_client(MODEL, rank=8, seed=0)
        policy = training.policy("main")
        evaluation = policy.with_options(priority="eval", max_in_flight=64)
        draw = random.Random(0)
        for step in range(STEPS):
            version = policy.publish().result()
            groups = pool.map(lambda problem: rollout(policy, problem), draw.sample(PROBLEMS, BATCH))
            data = [datum for group in groups for datum in group]
            if data:
                trained = training.step(data, "importance_sampling", ADAM).result()
                print(f"step {step}: weights {version}, {len(data)} completions, {trained.seconds:.2f} s")
            if step % 2 == 0:
                print(f"evaluation at {version}: {evaluate(evaluation):.3f}")
        policy.publish().result()
        print(f"evaluation at the end: {evaluate(evaluation):.3f}")


if __name__ == "__main__":
    main()
