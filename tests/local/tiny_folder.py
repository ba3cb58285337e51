"""The built-in model's shape as a folder in Hugging Face layout tells it."""

from __future__ import annotations

from tinker_actors.local.engine.tiny import TINY_CONFIG

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
