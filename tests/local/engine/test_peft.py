"""What `peft` is told about an adapter."""

from __future__ import annotations

import json

import pytest

from tinker_actors.local.engine.lora import LORA_ALPHA, LoraSpec
from tinker_actors.local.engine.model import LoraModel
from tinker_actors.local.engine.peft import peft_config
from tinker_actors.local.engine.tiny import TINY_NAME, tiny_base


@pytest.mark.parametrize("switch", [None, "train_attn", "train_mlp", "train_unembed"])
def test_the_modules_are_those_whose_matrices_there_are(switch):
    base, spec = tiny_base(), LoraSpec(rank=3, **({switch: False} if switch else {}))
    names = LoraModel(base, spec).state().adapter
    modules = {name.split(".lora_")[0].rsplit(".", 1)[1] for name in names}
    config = peft_config(spec, base)
    assert set(config["target_modules"]) == modules
    assert len(config["target_modules"]) == len(modules)
    assert (config["r"], config["lora_alpha"], config["base_model_name_or_path"]) == (3, LORA_ALPHA, TINY_NAME)
    assert json.loads(json.dumps(config)) == config
