"""Model folders: what can be served is served as it is, what can't is refused by name."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tinker_actors.errors import ConfigError
from tinker_actors.local.core.ports import SampleTask
from tinker_actors.local.engine.tiny import TINY_CONFIG, TINY_NAME, tiny_base
from tinker_actors.local.model_folders import load_model_folders, model_config
from tinker_actors.local.numpy_engine import NumpyEngine
from tinker_actors.local.store.tensor_files import packed

CONFIG = {
    "model_type": "llama",
    "vocab_size": TINY_CONFIG.vocab_size,
    "hidden_size": TINY_CONFIG.hidden_size,
    "num_hidden_layers": TINY_CONFIG.n_layers,
    "num_attention_heads": TINY_CONFIG.n_heads,
    "num_key_value_heads": TINY_CONFIG.n_kv_heads,
    "head_dim": TINY_CONFIG.head_dim,
    "intermediate_size": TINY_CONFIG.intermediate_size,
    "max_position_embeddings": TINY_CONFIG.context_length,
    "rms_norm_eps": TINY_CONFIG.rms_eps,
    "rope_theta": TINY_CONFIG.rope_theta,
    "eos_token_id": list(TINY_CONFIG.eos_token_ids),
    "tie_word_embeddings": TINY_CONFIG.tie_embeddings,
    "hidden_act": "silu",
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    weights = dict(tiny_base().weights)
    first = {name: weights.pop(name) for name in sorted(weights)[:3]}
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(packed(first))
    (tmp_path / "model-00002-of-00002.safetensors").write_bytes(packed(weights))
    return tmp_path


def drawn(engine, name, task):
    decoding = engine.decoding(engine.weights(name, None, None))
    assert decoding.admit([(0, task)]) == []
    *nothing, finished = [decoding.step() for _ in range(task.max_tokens)]
    assert nothing == [[]] * len(nothing)
    return finished[0][1]


def test_a_folder_with_the_built_in_models_weights_is_that_model(folder):
    engine = NumpyEngine(load_model_folders({"own/copy": folder}))
    assert sorted(engine.base_models) == [TINY_NAME, "own/copy"]
    assert engine.base_models["own/copy"].context_length == TINY_CONFIG.context_length
    task = SampleTask(
        prompt=np.array([1, 2, 3]), num_samples=1, max_tokens=8, temperature=0.0, top_k=None, top_p=1.0, seed=0,
        stop=None, prompt_logprobs=True, topk_prompt_logprobs=0,
    )  # fmt: skip
    outputs = [drawn(engine, name, task) for name in ("own/copy", TINY_NAME)]
    assert outputs[0].completions[0].tokens == outputs[1].completions[0].tokens
    assert outputs[0].prompt_logprobs == outputs[1].prompt_logprobs


def test_a_stop_string_without_a_tokenizer_is_refused(folder):
    engine = NumpyEngine(load_model_folders({"own/copy": folder}))
    task = SampleTask(
        prompt=np.array([1]), num_samples=1, max_tokens=1, temperature=0.0, top_k=None, top_p=1.0, seed=0,
        stop=("a",), prompt_logprobs=False, topk_prompt_logprobs=0,
    )  # fmt: skip
    ((_, outcome),) = engine.decoding(engine.weights("own/copy", None, None)).admit([(0, task)])
    assert "token ids" in str(outcome)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_type": "gpt2"}, "llama, qwen2, qwen3"),
        ({"hidden_size": None}, "NoneType"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "scaled rotary"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "scaled rotary"),
        ({"attention_bias": True}, "biases"),
        ({"hidden_act": "gelu"}, "activation gelu"),
        ({"use_sliding_window": True}, "sliding-window"),
        ({"num_hidden_layers": 3}, "weights lack"),
        ({"vocab_size": 300}, "shape"),
    ],
)
def test_what_can_not_be_served_is_refused_with_the_reason(folder, change, words):
    (folder / "config.json").write_text(json.dumps({**CONFIG, **change}))
    with pytest.raises(ConfigError, match=words) as caught:
        load_model_folders({"mine": folder})
    assert "'mine'" in str(caught.value)


def test_missing_and_broken_files_are_named(folder, tmp_path):
    (folder / "model-00002-of-00002.safetensors").write_bytes(b"not tensors")
    with pytest.raises(ConfigError, match="00002"):
        load_model_folders({"mine": folder})
    with pytest.raises(ConfigError, match=r"config\.json"):
        load_model_folders({"mine": tmp_path / "nowhere"})
    short = {name: value for name, value in CONFIG.items() if name != "vocab_size"}
    (folder / "config.json").write_text(json.dumps(short))
    with pytest.raises(ConfigError, match="lacks 'vocab_size'"):
        load_model_folders({"mine": folder})


def test_bfloat16_is_refused_by_name(folder):
    header = json.dumps({"w": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}).encode()
    (folder / "model-00002-of-00002.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    with pytest.raises(ConfigError, match="w is BF16"):
        load_model_folders({"mine": folder})


@pytest.mark.parametrize(
    ("kind", "bias", "norm"), [("llama", False, False), ("qwen2", True, False), ("qwen3", False, True)]
)
def test_the_architectures_differ_where_they_should(kind, bias, norm):
    config = model_config({**CONFIG, "model_type": kind, "eos_token_id": 5})
    assert (config.attention_bias, config.qk_norm, config.eos_token_ids) == (bias, norm, (5,))
    bare = {
        name: value for name, value in CONFIG.items() if name not in ("head_dim", "num_key_value_heads", "rope_theta")
    }
    config = model_config({**bare, "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"}})
    assert (config.head_dim, config.n_kv_heads, config.rope_theta) == (24, 4, 5e5)
