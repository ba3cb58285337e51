"""Decoding: the numpy engine's side of drawing samples, between the core's tasks and the engine's requests."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np

from tinker_actors.local.core.ports import Completion, SampleOutput, SampleTask
from tinker_actors.local.engine.base import BaseModel
from tinker_actors.local.engine.batch import activation_bytes, microbatches
from tinker_actors.local.engine.decoder import Decoder
from tinker_actors.local.engine.lora import Adapter
from tinker_actors.local.engine.sampling import SampleRequest, SampleResult, check_sample_request
from tinker_actors.local.engine.workspace import Workspace

Detokenise = Callable[[Sequence[int]], str]
"""Token ids to text."""


EXACT_PARAMETERS = 2**28
"""Largest base model that is sampled from in float64, which takes 8 bytes per parameter beside the float32 weights."""


PROMPT_BYTES = 128 * 2**20
"""About how much memory the prompts may take that are run together, in float32; in float64 it is twice that. Unlike in
training, the cut decides no bits of a result: those that it could decide are rounded away."""


_ROWS = 4
"""Rows over the vocabulary for each sequence: its distribution, and what drawing from it makes of that."""


def _is_exact(base: BaseModel) -> bool:
    return sum(array.size for array in base.weights.values()) <= EXACT_PARAMETERS


def _item_bytes(base: BaseModel) -> int:
    return 8 if _is_exact(base) else base.dtype.itemsize


def model_bytes(base: BaseModel) -> int:
    """Return how many bytes a model takes when it has been sampled from: it is there in float64, too."""
    parameters = sum(array.size for array in base.weights.values())
    return parameters * (base.dtype.itemsize + (8 if _is_exact(base) else 0))


def cache_bytes(base: BaseModel) -> int:
    """Return about how many bytes of keys and values a token takes, with what a growing cache has to spare."""
    config = base.config
    layer = 2 * config.kv_size * _item_bytes(base)
    return layer * config.n_layers * 5 // 4 + layer  # one layer at a time is there twice


def row_bytes(base: BaseModel) -> int:
    """Return about how many bytes a sequence takes beside its tokens."""
    return _ROWS * base.config.vocab_size * _item_bytes(base)


class Precise:
    """Base models in float64, made when they are first sampled from. For one thread.

    In float32 a matrix product's last bits depend on how many rows it has, so a sample's log-probabilities would depend
    on its company, by 1e-5 in a trained model. In float64 those bits are gone when the result is rounded to float32. It
    costs next to nothing for a few sequences and a third for many, and twice the memory for the cache.
    """

    def __init__(self) -> None:
        self._twins: dict[int, tuple[BaseModel, BaseModel]] = {}  # the key lives as long as the value

    def of(self, base: BaseModel) -> BaseModel:
        """Return a base model in float64, or the model itself if it is too large for that."""
        if not _is_exact(base):
            return base
        if id(base) not in self._twins:
            self._twins[id(base)] = base, BaseModel(base.config, base.weights, np.float64, base.name)
        return self._twins[id(base)][1]


class NumpyDecoding:
    """Completions being drawn by the numpy engine; see `ports.Decoding`.

    Args:
        base: the base model.
        adapter: the adapter in effect, or None.
        detokenise: turns tokens to text, for stop strings; None if there is no tokenizer.
        workspace: where prompts wait for memory.
    """

    def __init__(
        self,
        base: BaseModel,
        adapter: Adapter | None,
        detokenise: Detokenise | None,
        workspace: Workspace | None = None,
    ) -> None:
        self._base = base
        self._workspace = workspace or Workspace()
        self._detokenise = detokenise
        self._decoder = Decoder(base, adapter, detokenise)

    def admit(self, tasks: Sequence[tuple[int, SampleTask]]) -> list[tuple[int, ValueError]]:
        """Take tasks in; their prompts are run at once, in as many pieces as memory asks for."""
        valid: list[tuple[int, SampleRequest]] = []
        wrong: list[tuple[int, ValueError]] = []
        for key, task in tasks:
            try:
                valid.append((key, self._request(task)))
            except ValueError as error:
                wrong.append((key, error))
        if valid:
            lengths = [len(request.prompt) for _, request in valid]
            for run in microbatches(lengths, self._base.config, PROMPT_BYTES):
                with self._workspace.taken(self._bytes_of(lengths[run.start : run.stop])):
                    self._decoder.admit(valid[run.start : run.stop])
        return wrong

    def step(self) -> list[tuple[int, SampleOutput]]:
        """Draw one token for every completion."""
        return [(key, _output(result)) for key, result in self._decoder.step()]

    def drop(self, keys: Collection[int]) -> None:
        """Stop working on tasks."""
        self._decoder.drop(set(keys))

    def drawn(self, key: int, start: int) -> tuple[list[int], list[float]]:
        """Return what an unfinished task's first completion has from position `start` on."""
        return self._decoder.drawn(key, start)

    def _bytes_of(self, lengths: Sequence[int]) -> int:
        # One layer is there at a time, and its attention is masked by a copy.
        one_layer = activation_bytes(len(lengths), max(lengths), self._base.config) // self._base.config.n_layers
        return one_layer * self._base.dtype.itemsize // 4 * 3 // 2

    def _request(self, task: SampleTask) -> SampleRequest:
        if self._detokenise is None and any(isinstance(rule, str) for rule in task.stop or ()):
            raise ValueError("this model has no tokenizer here: give stop as token ids, not as text")
        request = SampleRequest(
            prompt=task.prompt,
            num_samples=task.num_samples,
            max_tokens=task.max_tokens,
            temperature=task.temperature,
            top_k=-1 if task.top_k is None else task.top_k,
            top_p=task.top_p,
            seed=task.seed,
            stop=task.stop,
            prompt_logprobs=task.prompt_logprobs,
            topk_prompt_logprobs=task.topk_prompt_logprobs,
            prompt_logprobs_last_n=task.prompt_logprobs_last_n,
            target_prompt_logprobs=task.target_prompt_logprobs,
            topk_sample_logprobs=task.topk_sample_logprobs,
        )
        check_sample_request(request, self._base.config)
        return request


def _output(result: SampleResult) -> SampleOutput:
    completions = [
        Completion(one.tokens.tolist(), one.logprobs.tolist(), one.stop_reason, one.topk_logprobs)
        for one in result.sequences
    ]
    return SampleOutput(completions, result.prompt_logprobs, result.topk_prompt_logprobs, result.target_prompt_logprobs)
