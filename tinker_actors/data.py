"""Data: training examples made of prompts and completions, aligned as the losses want them.

A model that reads token i predicts token i + 1, so inputs are a sequence without its last token and targets the same
without its first. Off-by-one mistakes here train on nonsense without any error; so it is done once. Arrays all the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tinker_actors.errors import InvalidInputError
from tinker_actors.protocol.codec.tokens import int32_ids
from tinker_actors.types.arrays import values_of
from tinker_actors.types.inputs import Datum, EncodedTextChunk, ModelInput, token_ids
from tinker_actors.types.sampling import SampledSequence
from tinker_actors.types.scalars import shown, unwrapped

Tokens = Sequence[int] | npt.NDArray[Any]


def policy_datum(
    prompt: ModelInput | Tokens, sequence: SampledSequence, advantage: float | Sequence[float] | npt.NDArray[Any]
) -> Datum:
    """Return a completion that was sampled, with its advantage, for the losses `importance_sampling` and `ppo`.

    Args:
        prompt: what was sampled from, P tokens, at least one.
        sequence: the completion, C tokens, at least one, with the log-probabilities under the weights it was sampled
            with.
        advantage: how much better than expected it was: one number, or one for each of the C tokens.

    Returns:
        A datum of P + C - 1 positions: `target_tokens` (int64), and `logprobs` and `advantages` (float32), both 0 where
        a token of the prompt is the target.

    Raises:
        InvalidInputError: an empty prompt or completion, a completion without a log-probability for each token, or
            advantages that are not finite numbers, one or C of them.
    """
    if sequence.logprobs_np is None:
        raise InvalidInputError("The sequence has no logprobs, and the loss needs those it was sampled with.")
    completion = _ids(sequence.tokens_np, "completion")
    scores = _numbers(sequence.logprobs_np, "logprobs")
    if scores.shape != completion.shape:
        raise InvalidInputError(f"The sequence has {len(completion)} tokens and logprobs of the shape {scores.shape}.")
    given = _numbers(advantage, "advantage")
    if given.ndim and given.shape != completion.shape:
        raise InvalidInputError(
            f"advantage has the shape {given.shape}; it must be a number or {len(completion)} of them."
        )
    model_input, targets, first = _aligned(prompt, completion)
    logprobs, advantages = np.zeros((2, len(targets)), np.float32)
    logprobs[first:] = scores
    advantages[first:] = given
    return Datum(model_input, {"target_tokens": targets, "logprobs": logprobs, "advantages": advantages})


def supervised_datum(prompt: ModelInput | Tokens, completion: Tokens) -> Datum:
    """Return an example of what to answer, for the loss `cross_entropy`.

    Args:
        prompt: what comes first, P tokens, at least one; it is not trained on.
        completion: what to answer, C token ids, at least one.

    Returns:
        A datum of P + C - 1 positions: `target_tokens` (int64), and `weights` (float32), 1 where a token of the
        completion is the target and 0 elsewhere.

    Raises:
        InvalidInputError: an empty prompt or completion.
    """
    model_input, targets, first = _aligned(prompt, _ids(completion, "completion"))
    weights = np.zeros(len(targets), np.float32)
    weights[first:] = 1.0
    return Datum(model_input, {"target_tokens": targets, "weights": weights})


def _aligned(
    prompt: ModelInput | Tokens, completion: npt.NDArray[Any]
) -> tuple[ModelInput, npt.NDArray[np.int64], int]:
    """Return inputs, targets, and the position whose target is the completion's first token."""
    given = prompt if isinstance(prompt, ModelInput) else ModelInput([EncodedTextChunk(_ids(prompt, "prompt"))])
    parts = [_targets(chunk) for chunk in given.chunks]
    length = sum(map(len, parts))
    if not length or not len(completion):
        raise InvalidInputError("Prompt and completion need a token each, at least.")
    whole = np.concatenate([*parts, completion], dtype=np.int64, casting="same_kind")
    if all(isinstance(chunk, EncodedTextChunk) for chunk in given.chunks):
        return ModelInput.from_ints(whole[:-1]), whole[1:], length - 1
    model_input = given if len(completion) == 1 else given.append(EncodedTextChunk(completion[:-1]))
    return ModelInput(model_input.chunks), whole[1:], length - 1


def _targets(chunk: Any) -> npt.NDArray[Any]:
    # Nothing is predicted where an image is, and the weight there is 0; but the positions count.
    return _ids(chunk.tokens, "prompt") if isinstance(chunk, EncodedTextChunk) else np.zeros(chunk.length, np.int64)


def _numbers(values: Any, name: str) -> npt.NDArray[np.float32]:
    single = unwrapped(values)
    if isinstance(single, int | float):
        values = [single]
    if unwrapped(values) is None or isinstance(values, str | complex):
        raise InvalidInputError(f"{name} is {shown(values)}; it must be a number or a flat list of them.")
    numbers = values_of(values, "float32", name)
    if not np.isfinite(numbers).all():
        raise InvalidInputError(f"{name} has a value that is not finite.")
    return numbers.reshape(()) if isinstance(single, int | float) else numbers


def _ids(tokens: Any, name: str) -> npt.NDArray[Any]:
    return int32_ids(token_ids(tokens, name), name).astype(np.int64)
