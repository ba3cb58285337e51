"""The built-in base model: small, random, made on the spot, good enough to learn spelling games.

It stands for a language model wherever nothing can be downloaded. Its tokenizer has one token per UTF-8 byte.
"""

from __future__ import annotations

import json

from tinker_actors.local.engine.base import BaseModel
from tinker_actors.local.engine.config import ModelConfig
from tinker_actors.local.engine.weights import random_weights

TINY_NAME = "local/tiny"
"""The base model's name in requests."""

BOS, EOS, PAD, UNKNOWN = 256, 257, 258, 259

SPECIAL_TOKENS = {"<|bos|>": BOS, "<|eos|>": EOS, "<|pad|>": PAD, "<|unknown|>": UNKNOWN}
"""Names and ids of the tokens behind the 256 bytes."""

TINY_CONFIG = ModelConfig(
    vocab_size=260,
    hidden_size=96,
    n_layers=2,
    n_heads=4,
    n_kv_heads=2,
    head_dim=24,
    intermediate_size=128,
    context_length=2048,
    eos_token_ids=(EOS,),
)


def tiny_base() -> BaseModel:
    """Make the built-in base model; the same bits every time. Takes a few milliseconds and 1 MB."""
    return BaseModel(TINY_CONFIG, random_weights(TINY_CONFIG, seed=0), name=TINY_NAME)


def tiny_tokenizer_json() -> str:
    """The built-in model's tokenizer as the content of a `tokenizer.json` for the `tokenizers` library.

    Ids 0 to 255 are the bytes of the text's UTF-8 form, so any text comes back exactly. The special tokens are
    ordinary entries of the vocabulary: text that spells one is encoded as its bytes, never as the token, and decoding
    shows them.
    """
    vocab = {character: byte for byte, character in enumerate(_byte_characters())} | SPECIAL_TOKENS
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [],
            "normalizer": None,
            "pre_tokenizer": byte_level,
            "post_processor": None,
            "decoder": byte_level,
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": False,
                "vocab": vocab,
                "merges": [],
            },
        },
        ensure_ascii=False,
    )


def _byte_characters() -> list[str]:
    """The character by which GPT-2's byte-level scheme spells each byte.

    Printable bytes of Latin-1 stand for themselves, the others take the next free code points from 256 on.
    """
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)}
    characters, free = [], 256
    for byte in range(256):
        if byte in printable:
            characters.append(chr(byte))
        else:
            characters.append(chr(free))
            free += 1
    return characters
