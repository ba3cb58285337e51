"""Configurations and base weights."""

from __future__ import annotations

import numpy as np
import pytest

from tinker_actors.local.engine.base import BaseModel
from tinker_actors.local.engine.config import ModelConfig
from tinker_actors.local.engine.weights import parameter_shapes, random_weights

SIZES = {
    "vocab_size": 11,
    "hidden_size": 8,
    "n_layers": 1,
    "n_heads": 4,
    "n_kv_heads": 2,
    "head_dim": 6,
    "intermediate_size": 5,
    "context_length": 16,
}


def test_parameters_have_hugging_face_names_and_shapes():
    config = ModelConfig(**SIZES, attention_bias=True, qk_norm=True)
    assert parameter_shapes(config) == {
        "model.embed_tokens.weight": (11, 8),
        "model.layers.0.input_layernorm.weight": (8,),
        "model.layers.0.self_attn.q_proj.weight": (24, 8),
        "model.layers.0.self_attn.q_proj.bias": (24,),
        "model.layers.0.self_attn.k_proj.weight": (12, 8),
        "model.layers.0.self_attn.k_proj.bias": (12,),
        "model.layers.0.self_attn.v_proj.weight": (12, 8),
        "model.layers.0.self_attn.v_proj.bias": (12,),
        "model.layers.0.self_attn.o_proj.weight": (8, 24),
        "model.layers.0.self_attn.q_norm.weight": (6,),
        "model.layers.0.self_attn.k_norm.weight": (6,),
        "model.layers.0.post_attention_layernorm.weight": (8,),
        "model.layers.0.mlp.gate_proj.weight": (5, 8),
        "model.layers.0.mlp.up_proj.weight": (5, 8),
        "model.layers.0.mlp.down_proj.weight": (8, 5),
        "model.norm.weight": (8,),
        "lm_head.weight": (11, 8),
    }


def test_tied_embeddings_leave_no_unembedding_of_their_own():
    config = ModelConfig(**SIZES, tie_embeddings=True)
    assert "lm_head.weight" not in parameter_shapes(config)
    base = BaseModel(config, random_weights(config, 0))
    assert base.unembed is base.embed


def test_a_base_keeps_every_weight_by_name_read_only():
    config = ModelConfig(**SIZES, attention_bias=True, qk_norm=True)
    weights = random_weights(config, 0)
    base = BaseModel(config, weights)
    assert base.weights.keys() == weights.keys()
    for name, array in base.weights.items():
        np.testing.assert_array_equal(array, weights[name])
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_random_weights_depend_on_the_seed_alone():
    config = ModelConfig(**SIZES)
    first, again, other = (random_weights(config, seed) for seed in (1, 1, 2))
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
    assert (first["lm_head.weight"] != other["lm_head.weight"]).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lm_head.weight": None}, "weights lack lm_head.weight"),
        ({"extra": np.zeros(1)}, "the model does not: extra"),
        ({"model.norm.weight": np.zeros(3)}, r"model.norm.weight has shape \(3,\), the model needs \(8,\)"),
    ],
)
def test_wrong_weights_are_named(change, message):
    config = ModelConfig(**SIZES)
    weights = {k: v for k, v in {**random_weights(config, 0), **change}.items() if v is not None}
    with pytest.raises(ValueError, match=message):
        BaseModel(config, weights)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_layers": 0}, "n_layers must be 1 to 4096, got 0"),
        ({"head_dim": 5}, "head_dim must be even, got 5"),
        ({"n_kv_heads": 3}, "n_heads 4 is no multiple of n_kv_heads 3"),
        ({"eos_token_ids": (11,)}, r"\[11\] lie outside the vocabulary of 11"),
    ],
)
def test_impossible_shapes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ModelConfig(**{**SIZES, **change})
