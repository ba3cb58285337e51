"""Our engine, by the port through which the embedded server uses it."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.engines.task import Task, main
from tinker_actors.local.core.ports import Example, SampleTask
from tinker_actors.local.engine.base import BaseModel
from tinker_actors.local.engine.config import ModelConfig
from tinker_actors.local.numpy_engine import NumpyEngine, ServedModel
from tinker_actors.types.training import AdamParams, LoraConfig

_NAME = "measured"


class Ours:
    """The numpy engine with one model."""

    def __init__(self, task: Task) -> None:
        given = task.config
        config = ModelConfig(
            vocab_size=given["vocab_size"],
            hidden_size=given["hidden_size"],
            n_layers=given["num_hidden_layers"],
            n_heads=given["num_attention_heads"],
            n_kv_heads=given["num_key_value_heads"],
            head_dim=given["head_dim"],
            intermediate_size=given["intermediate_size"],
            context_length=given["max_position_embeddings"],
            rope_theta=given["rope_theta"],
            rms_eps=given["rms_norm_eps"],
        )
        with np.load(task.weights) as weights:
            self._engine = NumpyEngine({_NAME: ServedModel(BaseModel(config, dict(weights)))})
        self._model = self._engine.create(_NAME, LoraConfig(rank=task.rank, seed=1))

    def step(self, rows: list[list[int]]) -> float:
        data = [Example(np.array(row[:-1]), np.array(row[1:]), {}) for row in rows]
        loss = self._model.forward_backward(data, "cross_entropy", {}).metrics["loss:sum"]
        self._model.optim_step(AdamParams(learning_rate=1e-4))
        return loss

    def sample(self, prompts: list[list[int]], new_tokens: int, temperature: float) -> list[list[int]]:
        # The weights in training, as the peer has them too: an adapter takes part in every product.
        decoding = self._engine.decoding(self._model.snapshot())
        tasks = [self._task(prompt, new_tokens, temperature, seed) for seed, prompt in enumerate(prompts)]
        decoding.admit(list(enumerate(tasks)))
        found: dict[int, list[int]] = {}
        while len(found) < len(tasks):
            found |= {key: output.completions[0].tokens for key, output in decoding.step()}
        return [found[key] for key in range(len(tasks))]

    def describe(self) -> dict[str, Any]:
        return {"engine": type(self._engine).__module__, "numpy": np.__version__}

    @staticmethod
    def _task(prompt: list[int], new_tokens: int, temperature: float, seed: int) -> SampleTask:
        return SampleTask(
            prompt=np.array(prompt), num_samples=1, max_tokens=new_tokens, temperature=temperature, top_k=None,
            top_p=1.0, seed=seed, stop=(), prompt_logprobs=False, topk_prompt_logprobs=0,
        )  # fmt: skip


if __name__ == "__main__":
    main(Ours)
