"""What `peft` has to be told so that it applies an adapter as this engine does.

The matrices already have PEFT's names, so an adapter's folder is `adapter_config.json` with this content and
`adapter_model.safetensors` with `Adapter.arrays()`.
"""

from __future__ import annotations

from typing import Any

from tinker_actors.local.engine.base import BaseModel
from tinker_actors.local.engine.lora import LORA_ALPHA, LoraSpec, adapted_modules


def peft_config(spec: LoraSpec, base: BaseModel) -> dict[str, Any]:
    """The content of `adapter_config.json`, in JSON types.

    Args:
        spec: What is trained.
        base: The base model; its name becomes `base_model_name_or_path`.
    """
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.name,
        "r": spec.rank,
        "lora_alpha": LORA_ALPHA,
        "lora_dropout": 0.0,
        "target_modules": adapted_modules(spec),
        "bias": "none",
        "fan_in_fan_out": False,
        "use_rslora": False,
        "use_dora": False,
        "inference_mode": True,
    }
