"""Base models from folders in Hugging Face layout: what is there, what is missing, what is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from tinker_actors.local.engine.folder import load_base, load_config, tokenizer_file
from tinker_actors.local.engine.hf_config import model_config
from tinker_actors.local.engine.weights import UNEMBED, random_weights

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 17,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 10,
    "max_position_embeddings": 32,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "eos_token_id": 3,
}


def write(folder, config=CONFIG, shards=1, leave_out=(), add=None):
    """Write a folder with random weights; with several shards, an index too."""
    (folder / "config.json").write_text(json.dumps(config))
    weights = {**random_weights(model_config(config), 0), **(add or {})}
    names = [name for name in weights if name not in leave_out]
    if shards == 1:
        save_file({name: weights[name] for name in names}, folder / "model.safetensors")
        return weights
    index = {}
    for i in range(shards):
        file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        save_file({name: weights[name] for name in names[i::shards]}, folder / file)
        index |= dict.fromkeys(names[i::shards], file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return weights


@pytest.mark.parametrize("shards", [1, 3])
def test_a_folder_becomes_a_base_model(tmp_path, shards):
    weights = write(tmp_path, shards=shards)
    base = load_base(tmp_path, "some/model")
    assert base.name == "some/model"
    assert base.weights.keys() == weights.keys()
    for name, array in weights.items():
        np.testing.assert_array_equal(base.weights[name], array)
    config = base.config
    assert (config.arch, config.head_dim, config.rope_theta, config.rms_eps) == ("llama", 6, 10_000.0, 1e-5)
    assert (config.context_length, config.tie_embeddings, config.eos_token_ids) == (32, False, (3,))


def test_files_without_an_index_are_put_together(tmp_path):
    weights = write(tmp_path, shards=2)
    (tmp_path / "model.safetensors.index.json").unlink()
    assert load_base(str(tmp_path), "x").weights.keys() == weights.keys()


@pytest.mark.parametrize(("number", "flag"), [(2, "attention_bias"), (3, "qk_norm")])
def test_the_architecture_decides_what_there_is(number, flag):
    config = model_config({**CONFIG, "architectures": [f"Qwen{number}ForCausalLM"]})
    assert [name for name in ("attention_bias", "qk_norm") if getattr(config, name)] == [flag]


def test_the_model_type_decides_where_no_architecture_is_named():
    given = {key: value for key, value in CONFIG.items() if key != "architectures"}
    assert model_config({**given, "model_type": "qwen3"}).arch == "qwen3"


def test_arrays_that_a_tied_model_or_no_model_needs_are_left_out(tmp_path):
    spare = {UNEMBED: np.ones((17, 12), np.float32), "model.layers.0.self_attn.rotary_emb.inv_freq": np.ones(3)}
    write(tmp_path, {**CONFIG, "tie_word_embeddings": True}, add=spare)
    base = load_base(tmp_path, "x")
    assert base.unembed is base.embed
    assert not base.weights.keys() & spare.keys()


@pytest.mark.parametrize(
    ("generation", "expected"),
    [({"eos_token_id": [4, 5]}, (4, 5)), ({"eos_token_id": 6}, (6,)), ({}, (3,)), (None, (3,))],
)
def test_the_end_of_sequence_is_the_one_for_generation_if_there_is_one(tmp_path, generation, expected):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    if generation is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    assert load_config(tmp_path).eos_token_ids == expected


def test_the_tokenizers_file_is_found_if_it_is_there(tmp_path):
    assert tokenizer_file(tmp_path) is None
    (tmp_path / "tokenizer.json").write_text("{}")
    assert tokenizer_file(tmp_path) == tmp_path / "tokenizer.json"


@pytest.mark.parametrize(
    "change",
    [
        {"rope_theta": 500.0},
        {"rope_theta": 500.0, "rope_scaling": None},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
        {"rope_parameters": {"rope_theta": 500.0}, "rope_theta": 7.0},
        {"rope_theta": 500.0, "rope_scaling": {"type": "default"}},
    ],
)
def test_the_rotary_base_is_found_however_it_is_written(change):
    assert model_config({**CONFIG, **change}).rope_theta == 500.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"architectures": ["MistralForCausalLM"]},
            "MistralForCausalLM is not supported; supported are LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM",
        ),
        ({"architectures": None, "model_type": "gemma"}, "of model_type 'gemma' is not supported; supported are Llama"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "rotary embeddings of type 'llama3'"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rotary embeddings of type 'linear'"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6}}, "rotary embeddings of type 'yarn'"),
        ({"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "rotary embeddings that differ by layer"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor 0.5"),
        ({"attention_bias": True, "mlp_bias": True}, "attention_bias, mlp_bias, which is not computed here"),
        ({"hidden_act": "gelu"}, "the activation 'gelu'"),
        ({"use_sliding_window": True, "sliding_window": 4096}, "sliding-window attention"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "sliding-window attention"),
        ({"quantization_config": {"bits": 4}}, "quantized weights"),
        ({"hidden_size": None, "vocab_size": None}, "config.json lacks vocab_size, hidden_size"),
    ],
)
def test_what_is_not_computed_exactly_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        model_config({**CONFIG, **change})


def test_a_window_that_is_not_used_is_no_obstacle():
    model_config({**CONFIG, "use_sliding_window": False, "sliding_window": 4096})
    model_config({**CONFIG, "use_sliding_window": True, "layer_types": ["full_attention"] * 2})


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json is missing"):
        load_base(tmp_path, "x")
    write(tmp_path, shards=2)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"not there: .*model-00002-of-00002\.safetensors"):
        load_base(tmp_path, "x")


def test_a_folder_without_weights_says_what_it_has_instead(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(
        FileNotFoundError, match=r"no other \*\.safetensors; pytorch_model\.bin would have to be converted"
    ):
        load_base(tmp_path, "x")


def test_a_broken_configuration_is_named(tmp_path):
    for content, message in (("{", r"config\.json is no JSON"), ("[]", r"config\.json holds no table")):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(ValueError, match=message):
            load_config(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"leave_out": ["model.norm.weight"]}, r"weights lack model\.norm\.weight"),
        ({"add": {"extra": np.zeros(2, np.float32)}}, "the model does not: extra"),
        (
            {"add": {"model.norm.weight": np.zeros(5, np.float32)}},
            r"model\.norm\.weight has shape \(5,\), the model needs \(12,\)",
        ),
    ],
)
def test_wrong_arrays_are_named(tmp_path, options, message):
    write(tmp_path, **options)
    with pytest.raises(ValueError, match=message):
        load_base(tmp_path, "x")


def test_an_array_in_two_files_is_refused(tmp_path):
    write(tmp_path, shards=2)
    (tmp_path / "model.safetensors.index.json").unlink()
    save_file({"model.norm.weight": np.zeros(12, np.float32)}, tmp_path / "more.safetensors")
    with pytest.raises(ValueError, match=r"another file of the folder has too: model\.norm\.weight"):
        load_base(tmp_path, "x")
