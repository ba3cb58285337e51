"""transformers and PyTorch on the CPU, with LoRA on every projection; for an environment that has them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import transformers
from torch import nn

from benchmarks.engines.task import Task, main

_ALPHA = 32.0


class Lora(nn.Module):
    """A linear layer with LoRA matrices beside it."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base
        self.down = nn.Parameter(torch.empty(rank, base.in_features).uniform_(-1, 1) / base.in_features**0.5)
        self.up = nn.Parameter(torch.zeros(base.out_features, rank))
        self.scaling = _ALPHA / rank

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + (x @ self.down.T) @ self.up.T * self.scaling


class Peer:
    """A Llama of transformers."""

    def __init__(self, task: Task) -> None:
        torch.set_num_threads(task.threads)
        torch.manual_seed(0)
        self._model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**task.config)).eval()
        with np.load(task.weights) as weights:
            self._model.load_state_dict({name: torch.from_numpy(weights[name]) for name in weights.files})
        self._model.requires_grad_(False)
        self._adapt(task.rank)
        trained = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(trained, lr=1e-4, betas=(0.9, 0.95), eps=1e-12, weight_decay=0.0)

    def step(self, rows: list[list[int]]) -> float:
        ids = torch.tensor(rows)
        logits = self._model(input_ids=ids[:, :-1], use_cache=False).logits
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="sum")
        loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad()
        return loss.item()

    @torch.inference_mode()
    def sample(self, prompts: list[list[int]], new_tokens: int, temperature: float) -> list[list[int]]:
        ids = torch.tensor(prompts)
        how = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
        found = self._model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=new_tokens,
            pad_token_id=0,
            **(how if temperature else {"do_sample": False}),
        )
        tokens: list[list[int]] = found[:, ids.shape[1] :].tolist()
        return tokens

    def describe(self) -> dict[str, Any]:
        kind = type(self._model)
        return {
            "engine": f"{kind.__module__}.{kind.__name__}",
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "threads": torch.get_num_threads(),
        }

    def _adapt(self, rank: int) -> None:
        for parent in list(self._model.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.Linear):
                    setattr(parent, name, Lora(child, rank))


if __name__ == "__main__":
    main(Peer)
