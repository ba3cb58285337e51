"""Write the golden files: small models, and what PyTorch computes with them, for the tests that run without PyTorch.

Run with the environment of the peers and the repository's root on the path: python tests/peers/make_goldens.py
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch_reference as reference

from tinker_actors.local.engine.folder import load_base
from tinker_actors.local.engine.lora import LoraSpec
from tinker_actors.local.engine.model import LoraModel
from tinker_actors.local.engine.peft import peft_config

FOLDER = Path(__file__).parent.parent / "local" / "engine" / "goldens"

MODELS = {"llama": False, "qwen2": True, "qwen3": False}
"""Architecture -> whether its embeddings are tied."""

SIZES = {
    "vocab_size": 23,
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 6,
    "intermediate_size": 16,
    "max_position_embeddings": 256,
}

SPEC = LoraSpec(rank=2, seed=0)
LENGTHS = (6, 1, 11)
STEPS = 20


def build(kind: str) -> dict[str, np.ndarray]:
    """Everything that one golden file holds, by name."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        torch_model = reference.make_model(kind, tied=MODELS[kind], **SIZES)
        torch_model.save_pretrained(folder)
        config = (folder / "config.json").read_bytes()
        base = load_base(folder, "golden")
        model = LoraModel(base, SPEC)
        rng = np.random.default_rng(1)
        adapter = {
            name: (rng.standard_normal(array.shape) * (0.5 if ".lora_A." in name else 0.02)).astype(np.float32)
            for name, array in model.state().adapter.items()
        }
        peer = reference.with_adapter(torch_model, folder / "adapter", peft_config(SPEC, base), adapter).double()
    found = {"config": np.frombuffer(config, np.uint8)}
    found["weights"] = flat(base.weights)
    found["adapter"] = flat(adapter)
    tokens = rng.integers(0, SIZES["vocab_size"], 200)
    found["tokens"] = tokens.astype(np.uint8)
    found["logprobs"] = reference.target_logprobs(peer, tokens[:-1], tokens[1:]).detach().numpy().astype(np.float32)
    for case in reference.CASES:
        found |= {f"{case}/{name}": array for name, array in _case(peer, case).items()}
    return found | _training(peer)


def _case(peer, case):
    data = reference.make_data(peer, case, lengths=LENGTHS)
    loss, logprobs = reference.backward(peer, case, data)
    found = {"loss": np.array(loss), "logprobs": np.concatenate(logprobs).astype(np.float32)}
    found["gradients"] = flat(reference.gradients(peer))
    found["tokens"] = np.concatenate([tokens for tokens, _, _ in data]).astype(np.uint8)
    found["targets"] = np.concatenate([targets for _, targets, _ in data]).astype(np.uint8)
    for name in data[0][2]:
        found[f"inputs/{name}"] = np.concatenate([inputs[name] for _, _, inputs in data])
    found["lengths"] = np.array(LENGTHS)
    settings = reference.CASES[case][1] or {}
    found["call"] = np.frombuffer(json.dumps([reference.CASES[case][0], settings]).encode(), np.uint8)
    return found


def _training(peer):
    """Adapter and gradient norms of training on the data of the plain cross-entropy, the same batch each time."""
    data = reference.make_data(peer, "cross_entropy", lengths=LENGTHS)
    reference.backward(peer, "cross_entropy", data)
    first = np.linalg.norm(flat(reference.gradients(peer)))
    # In effect in the first steps, while the loss is high, and not in the last ones.
    settings = {**reference.ADAM, "learning_rate": 3e-4, "grad_clip_norm": round(0.6 * float(first), 1)}
    norms = reference.train(peer, [data] * STEPS, settings)
    trained = flat({name: parameter.detach().numpy() for name, parameter in reference.trainable(peer).items()})
    return {
        "training/settings": np.frombuffer(json.dumps(settings).encode(), np.uint8),
        "training/norms": np.array(norms),
        "training/adapter": trained,
    }


def flat(arrays):
    """All arrays in one, in the order of their names; a file with few entries is a small file."""
    return np.concatenate([arrays[name].ravel() for name in sorted(arrays)]).astype(np.float32)


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for kind in MODELS:
        path = FOLDER / f"{kind}.npz"
        np.savez_compressed(path, **build(kind))
        sys.stdout.write(f"{path.name}: {path.stat().st_size} bytes\n")


if __name__ == "__main__":
    main()
