"""The decoding loop as a machine: sequences come in, every step adds a token to each, finished ones leave.

Sequences may join at any step, so a server can merge requests that arrive while others are being continued.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from tinker_actors.local.engine.arrays import Floats, Ints
from tinker_actors.local.engine.attention import AttentionTape
from tinker_actors.local.engine.base import BaseModel
from tinker_actors.local.engine.batch import Packing
from tinker_actors.local.engine.cache import KeyValueCache
from tinker_actors.local.engine.drawing import choose
from tinker_actors.local.engine.lora import HEAD, Adapter
from tinker_actors.local.engine.sampling import (
    SampledSequence,
    SampleRequest,
    SampleResult,
    StopReason,
    TopTokens,
    check_sample_request,
)
from tinker_actors.local.engine.scoring import PromptScores, score_prompt, top_tokens
from tinker_actors.local.engine.stopping import Detokenise, StopRule
from tinker_actors.local.engine.transformer import LayerTape, block, final_norm, hidden_states, projections
from tinker_actors.local.engine.unembed import log_probabilities

T = TypeVar("T")


class _Job:
    """One request being worked on, and what is there of its result."""

    def __init__(self, key: int, request: SampleRequest, prompt: Ints, rule: StopRule, context_length: int) -> None:
        self.key = key
        self.request = request
        self.prompt = prompt
        self.rule = rule
        room = max(1, context_length - len(prompt))
        self.limit = room if request.max_tokens is None else min(request.max_tokens, room)
        self.sequences: list[SampledSequence | None] = [None] * request.num_samples
        self.scores = PromptScores()

    def result(self) -> SampleResult | None:
        """The result, once every sequence is done."""
        done = [sequence for sequence in self.sequences if sequence is not None]
        if len(done) < len(self.sequences):
            return None
        scores = self.scores
        return SampleResult(done, scores.prompt_logprobs, scores.topk_prompt_logprobs, scores.target_prompt_logprobs)


class _Row:
    """One sequence being continued."""

    def __init__(self, job: _Job, index: int) -> None:
        seed = job.request.seed
        # Negative seeds are taken modulo 2**64, because numpy's seed sequence takes none.
        self.generator = np.random.default_rng(None if seed is None else [seed % 2**64, index])
        self.job = job
        self.index = index
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        self.tops: list[TopTokens] | None = [] if job.request.topk_sample_logprobs else None

    def add(self, token: int, distribution: Floats) -> bool:
        """Append a token drawn from log-probabilities; whether the sequence is done, in which case the job has it."""
        self.tokens.append(token)
        self.logprobs.append(float(np.float32(distribution[token])))
        if self.tops is not None:
            rounded = distribution[None].astype(np.float32, copy=False)
            self.tops += top_tokens(rounded, self.job.request.topk_sample_logprobs)
        reason: StopReason
        if self.job.rule.ends(self.tokens):
            reason = "stop"
        elif len(self.tokens) >= self.job.limit:
            reason = "length"
        else:
            return False
        self.job.sequences[self.index] = SampledSequence(
            np.array(self.tokens, np.int32), np.array(self.logprobs, np.float32), reason, self.tops
        )
        return True


class Decoder:
    """Continues any number of sequences with one model. For one thread at a time.

    Args:
        base: The base model.
        adapter: The adapter in effect, or None.
        detokenise: Turns tokens to text, for stop strings.
    """

    def __init__(self, base: BaseModel, adapter: Adapter | None, detokenise: Detokenise | None = None) -> None:
        self._base = base
        self._linears = projections(base, adapter.groups if adapter is not None else {}, constant=True)
        self._detokenise = detokenise
        self._cache = KeyValueCache(base.config, base.dtype)
        self._rows: list[_Row] = []
        self._logprobs: Floats = np.empty((0, base.config.vocab_size), base.dtype)

    @property
    def live(self) -> set[int]:
        """Keys of the requests being worked on."""
        return {row.job.key for row in self._rows}

    def admit(self, requests: Sequence[tuple[int, SampleRequest]]) -> None:
        """Take requests in: run their prompts, once each, as one batch.

        Args:
            requests: (key, request); the keys are the caller's, and `step` returns them.

        Raises:
            ValueError: A request is not valid; none has been taken in then.
        """
        config = self._base.config
        jobs = [
            _Job(
                key,
                request,
                check_sample_request(request, config),
                StopRule(request.stop, config, self._detokenise),
                config.context_length,
            )
            for key, request in requests
        ]
        if not jobs:
            return
        packing = Packing([len(job.prompt) for job in jobs])
        copies = np.repeat(np.arange(len(jobs)), [job.request.num_samples for job in jobs])
        rows = self._cache.append([len(jobs[i].prompt) for i in copies])

        def store(layer: int, tape: LayerTape[AttentionTape]) -> None:
            keys, values = tape.attention.k, tape.attention.v
            self._cache.write_prompts(layer, rows, keys[copies], values[copies])

        tokens = np.concatenate([job.prompt for job in jobs])
        x = hidden_states(self._base, self._linears, packing, tokens, store)
        h, _ = final_norm(self._base, x)
        head = self._linears[HEAD, "unembed"]
        for job, start, end in zip(jobs, packing.starts, packing.starts[1:], strict=False):
            job.scores = score_prompt(job.request, job.prompt, h[start:end], head)
        last, _ = log_probabilities(head, h[packing.starts[1:] - 1])
        self._logprobs = np.concatenate([self._logprobs, last[copies]])
        self._rows += [_Row(job, i) for job in jobs for i in range(job.request.num_samples)]

    def step(self) -> list[tuple[int, SampleResult]]:
        """Add one token to every sequence; returns the requests that are finished with it.

        Raises:
            ValueError: The model's probabilities are not finite. The decoder is of no use then.
        """
        if not self._rows:
            return []
        chosen = self._choose()
        picked = np.take_along_axis(self._logprobs, chosen[:, None], axis=1)[:, 0]
        if not np.isfinite(picked).all():
            raise ValueError("the model's probabilities are not finite; its weights have diverged")
        finished: list[tuple[int, SampleResult]] = []
        staying: list[int] = []
        for i, row in enumerate(self._rows):
            if not row.add(int(chosen[i]), self._logprobs[i]):
                staying.append(i)
            elif (result := row.job.result()) is not None:
                finished.append((row.job.key, result))
        self._keep(staying)
        self._forward()
        return finished

    def drop(self, keys: set[int]) -> None:
        """Stop working on requests."""
        staying = [i for i, row in enumerate(self._rows) if row.job.key not in keys]
        self._logprobs = self._logprobs[self._keep(staying)]

    def drawn(self, key: int, start: int) -> tuple[list[int], list[float]]:
        """Tokens and log-probabilities of an unfinished request's first sequence, from position `start` on.

        Empty if that sequence is done and others of the request are not.
        """
        row = next((row for row in self._rows if row.job.key == key and row.index == 0), None)
        return ([], []) if row is None else (row.tokens[start:], row.logprobs[start:])

    def _choose(self) -> Ints:
        requests = [row.job.request for row in self._rows]
        temperature = np.array([request.temperature for request in requests])
        top_k = np.array([request.top_k for request in requests])
        top_p = np.array([request.top_p for request in requests])
        uniform = np.array([row.generator.random() for row in self._rows])
        return choose(self._logprobs, temperature, top_k, top_p, uniform)

    def _keep(self, staying: list[int]) -> list[int]:
        order = self._cache.keep(staying) if len(staying) < len(self._rows) else list(range(len(staying)))
        self._rows = [self._rows[i] for i in order]
        return order

    def _forward(self) -> None:
        """Run the newest token of every row, for the distribution of the next."""
        if not self._rows:
            self._logprobs = self._logprobs[:0]
            return
        base, cache = self._base, self._cache
        cache.reserve_next()
        rotation = base.rotation(cache.lengths)
        x = base.embed[[row.tokens[-1] for row in self._rows]]
        for layer in range(base.config.n_layers):
            x, _ = block(base, layer, self._linears, x, rotation=rotation, attend=_without_tape(cache, layer))
        cache.advance()
        h, _ = final_norm(base, x)
        self._logprobs, _ = log_probabilities(self._linears[HEAD, "unembed"], h)


def _without_tape(cache: KeyValueCache, layer: int) -> Callable[[Floats, Floats, Floats], tuple[Floats, None]]:
    def attend(q: Floats, k: Floats, v: Floats) -> tuple[Floats, None]:
        return cache.attend(layer, q, k, v), None

    return attend
