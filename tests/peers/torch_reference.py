"""The same models, adapters, losses and steps in PyTorch, transformers and peft.

Losses are written from the protocol's formulas and differentiated by autograd, so that nothing here knows how the
engine computes.
"""

from __future__ import annotations

import json
import warnings

import numpy as np
import torch
from peft import PeftModel
from safetensors.numpy import save_file
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

torch.set_num_threads(1)

KINDS = {
    "llama": (LlamaConfig, LlamaForCausalLM),
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
}

SIZES = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
}

POLICY_LOSSES = {
    "importance_sampling": {},
    "ppo": {"clip_low_threshold": 0.8, "clip_high_threshold": 1.2},
    "cispo": {"clip_low_threshold": 0.0, "clip_high_threshold": 4.0},
    "dro": {"beta": 0.1},
}
"""Loss -> its settings; those that the protocol names as defaults."""

CASES = {
    "cross_entropy": ("cross_entropy", None),
    "cross_entropy_many": ("cross_entropy", None),
    **{name: (name, None) for name in POLICY_LOSSES},
    "cispo_narrow": ("cispo", {"clip_low_threshold": 0.9, "clip_high_threshold": 1.1}),
}
"""What is compared -> the loss and the settings that differ from the defaults."""


def make_model(kind, *, tied, seed=0, **sizes):
    """A random model in float32 whose norms and biases are random too, so that nothing is hidden by a one or a zero."""
    config_class, model_class = KINDS[kind]
    extra = {"head_dim": 12} if kind == "qwen3" else {}
    config = config_class(**{**SIZES, **extra, **sizes}, tie_word_embeddings=tied, eos_token_id=1, bos_token_id=0)
    model = model_class(config).eval()
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            values = rng.standard_normal(parameter.shape)
            if name.endswith("norm.weight"):
                values = 1 + 0.3 * values
            elif name.endswith(".bias"):
                values *= 0.3
            elif "embed" not in name:
                values *= 1.2 / np.sqrt(parameter.shape[1])
            parameter.copy_(torch.from_numpy(values))
    return model


def with_adapter(model, folder, config, arrays):
    """The model with an adapter as `peft` loads it from a folder."""
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(config))
    # Memory is written as it lies, so views of a larger array have to be made whole first.
    whole = {name: np.array(array, order="C") for name, array in arrays.items()}
    save_file(whole, folder / "adapter_model.safetensors")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*missing adapter keys.*")
        return PeftModel.from_pretrained(model, str(folder), is_trainable=True).eval()


def logits(model, tokens):
    """[tokens, vocab], in the model's precision."""
    return model(input_ids=torch.as_tensor(np.asarray(tokens))[None].long(), use_cache=False).logits[0]


def greedy(model, prompt, count):
    """The most probable continuation as `generate` finds it, up to and with the end of sequence."""
    ids = torch.as_tensor(prompt)[None].long()
    mask = torch.ones_like(ids)
    found = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=count, do_sample=False, pad_token_id=0)
    return found[0, ids.shape[1] :].tolist()


def target_logprobs(model, tokens, targets):
    """Log-probabilities of targets, in their shape."""
    logprobs = torch.log_softmax(logits(model, tokens), -1)
    wide = torch.as_tensor(targets).reshape(len(targets), -1)
    return torch.gather(logprobs, 1, wide).reshape(targets.shape)


def loss_value(name, lp, inputs, config):
    """One datum's loss, summed."""
    if name == "cross_entropy":
        return (-lp * inputs["weights"]).sum()
    config = {**POLICY_LOSSES[name], **(config or {})}
    ratio, advantages = torch.exp(lp - inputs["logprobs"]), inputs["advantages"]
    if name == "importance_sampling":
        return -(ratio * advantages).sum()
    if name == "dro":
        return -(lp * advantages - 0.5 * config["beta"] * (lp - inputs["logprobs"]) ** 2).sum()
    clipped = torch.clamp(ratio, config["clip_low_threshold"], config["clip_high_threshold"])
    if name == "ppo":
        return -torch.minimum(ratio * advantages, clipped * advantages).sum()
    assert name == "cispo"
    return -(clipped.detach() * lp * advantages).sum()


def make_data(model, case, *, lengths=(7, 1, 12, 30), seed=0):
    """Training data as (tokens, targets, inputs); the sampling policy is near the model, on both sides of a clip."""
    rng = np.random.default_rng(seed)
    vocab = model.config.vocab_size
    data = []
    for length in lengths:
        tokens = rng.integers(0, vocab, length)
        targets = rng.integers(0, vocab, (length, 3) if case == "cross_entropy_many" else length)
        if case.startswith("cross_entropy"):
            inputs = {"weights": rng.uniform(-0.2, 1.5, targets.shape)}
        else:
            with torch.no_grad():
                lp = target_logprobs(model, tokens, targets).numpy()
            inputs = {"logprobs": lp + rng.normal(0, 0.5, length), "advantages": rng.standard_normal(length)}
        data.append((tokens, targets, {name: values.astype(np.float32) for name, values in inputs.items()}))
    return data


def backward(model, case, data):
    """Add the gradient of a request's loss; returns the loss and the log-probabilities of each datum."""
    loss, config = CASES[case]
    total, found = 0.0, []
    for tokens, targets, inputs in data:
        lp = target_logprobs(model, tokens, targets)
        value = loss_value(loss, lp, {name: torch.from_numpy(a).to(lp.dtype) for name, a in inputs.items()}, config)
        value.backward()
        total += float(value.detach())
        found.append(lp.detach().numpy())
    return total, found


def trainable(model):
    """The adapter's parameters by the names that files have."""
    return {
        name.replace(".default.", "."): parameter for name, parameter in model.named_parameters() if "lora_" in name
    }


def gradients(model):
    """A copy of the adapter's gradients by name; clears them."""
    found = {name: parameter.grad.numpy().copy() for name, parameter in trainable(model).items()}
    model.zero_grad()
    return found


ADAM = {"learning_rate": 3e-3, "beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1, "grad_clip_norm": 300.0}
"""Settings of the optimizer, by the engine's names; the clip is in effect in some steps and not in others."""


def make_optimizer(parameters, settings):
    """Torch's AdamW with settings by the engine's names."""
    return torch.optim.AdamW(
        parameters,
        lr=settings["learning_rate"],
        betas=(settings["beta1"], settings["beta2"]),
        eps=settings["eps"],
        weight_decay=settings["weight_decay"],
    )


def train(model, batches, settings=ADAM):
    """One AdamW step per batch of cross-entropy; returns the gradient norms before clipping."""
    parameters = list(trainable(model).values())
    optimizer = make_optimizer(parameters, settings)
    norms = []
    for data in batches:
        backward(model, "cross_entropy", data)
        limit = settings["grad_clip_norm"] or float("inf")
        norms.append(float(torch.nn.utils.clip_grad_norm_(parameters, limit)))
        optimizer.step()
        optimizer.zero_grad()
    return norms
