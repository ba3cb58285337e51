"""The building blocks of a transformer, each with its exact backward: linear with LoRA, RMSNorm, rotation, SwiGLU.

Rows are tokens of all sequences, packed without padding. Base weights are frozen, so backward means the gradient with
respect to the input, and to the LoRA matrices.
"""

from __future__ import annotations

import msgspec
import numpy as np

from tinker_actors.local.engine.arrays import Floats
from tinker_actors.local.engine.lora import Group


class Linear(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """A projection as it is in effect: base weight and adapter.

    Attributes:
        weight: [out, in]; the base weight, or with `merged` base + scaling * B A.
        bias: [out], or None.
        lora: The matrices that adapt it, or None.
        merged: Whether `weight` already contains them.
    """

    weight: Floats
    bias: Floats | None = None
    lora: Group | None = None
    merged: bool = False


SMALL_WEIGHT = 2**20
"""Elements of a matrix that is merged with an adapter that stays as it is: the copy is a few MiB at most."""


def adapt(weight: Floats, bias: Floats | None, lora: Group | None, *, constant: bool = False) -> Linear:
    """Put a base weight and its adapter together in the way that costs less per token.

    A low rank beside a large matrix is cheapest as products of its own: 3 * (rank * in + rank * out) multiplications
    per module for forward and backward. Beside a small one it is cheaper to add B A to the weight once, and to take
    the gradients of A and B from the full weight's: out * in more.

    Args:
        weight: [out, in].
        bias: [out], or None.
        lora: The matrices that adapt the weight, or None.
        constant: Whether they stay as they are for many products and need no gradient. A small matrix is then always
            cheapest with B A added to it.
    """
    if lora is None:
        return Linear(weight=weight, bias=bias)
    apart = 3 * (lora.down.size + sum(pair.up.size for pair in lora.pairs))
    if weight.size > apart and not (constant and weight.size <= SMALL_WEIGHT):
        return Linear(weight=weight, bias=bias, lora=lora)
    merged = np.empty_like(weight)
    for pair in lora.pairs:
        np.matmul(pair.up, lora.down[pair.ranks], out=merged[pair.columns])
    merged *= lora.scaling
    merged += weight
    return Linear(weight=merged, bias=bias, lora=lora, merged=True)


def linear(x: Floats, module: Linear) -> tuple[Floats, Floats | None]:
    """Compute x W^T + bias + scaling * (x A^T) B^T.

    Args:
        x: [tokens, in].
        module: The projection.

    Returns:
        The output [tokens, out], and what `linear_backward` needs beside x: scaling * x A^T, or None.
    """
    y = x @ module.weight.T
    if module.bias is not None:
        y += module.bias
    lora = module.lora
    if lora is None or module.merged:
        return y, None
    inner = x @ lora.down.T
    inner *= lora.scaling
    for pair in lora.pairs:
        y[:, pair.columns] += inner[:, pair.ranks] @ pair.up.T
    return y, inner


def linear_backward(
    dy: Floats, x: Floats, inner: Floats | None, module: Linear, grad: Group | None, *, need_dx: bool = True
) -> Floats | None:
    """Gradient of `linear`; adds those of A and B to `grad`.

    Args:
        dy: [tokens, out], gradient of the output.
        x: The input that `linear` had.
        inner: What `linear` returned beside the output.
        module: The projection.
        grad: Where the gradients of A and B are added; None exactly where it has no LoRA.
        need_dx: False where nothing below is trained.

    Returns:
        The gradient of x, [tokens, in], or None if it is not needed.
    """
    dx = dy @ module.weight if need_dx else None
    lora = module.lora
    if lora is None or grad is None:
        return dx
    if inner is None:
        _merged_backward(dy.T @ x, lora, grad)
        return dx
    d_inner = np.empty_like(inner)
    for pair, pair_grad in zip(lora.pairs, grad.pairs, strict=True):
        part = dy[:, pair.columns]
        d_inner[:, pair.ranks] = part @ pair.up
        pair_grad.up[...] += part.T @ inner[:, pair.ranks]
    d_inner *= lora.scaling
    grad.down[...] += d_inner.T @ x
    if dx is not None:
        dx += d_inner @ lora.down
    return dx


def _merged_backward(d_weight: Floats, lora: Group, grad: Group) -> None:
    """From the gradient of base + scaling * B A to those of A and B."""
    d_weight *= lora.scaling
    for pair, pair_grad in zip(lora.pairs, grad.pairs, strict=True):
        part = d_weight[pair.columns]
        pair_grad.up[...] += part @ lora.down[pair.ranks].T
        grad.down[pair.ranks] += pair.up.T @ part


def rms_norm(x: Floats, weight: Floats, eps: float) -> tuple[Floats, Floats]:
    """Compute x / sqrt(mean(x^2) + eps) * weight over the last axis.

    Returns:
        The output, and 1 / sqrt(...) with a last axis of 1, which `rms_norm_backward` needs.
    """
    mean_square = np.einsum("...i,...i->...", x, x)[..., None] / x.shape[-1]
    inverse = (1.0 / np.sqrt(mean_square + eps)).astype(x.dtype, copy=False)
    y = x * inverse
    y *= weight
    return y, inverse


def rms_norm_backward(dy: Floats, x: Floats, inverse: Floats, weight: Floats) -> Floats:
    """Gradient of `rms_norm` with respect to x."""
    d_normed = dy * weight
    normed = x * inverse
    shared = np.einsum("...i,...i->...", d_normed, normed)[..., None] / x.shape[-1]
    normed *= shared
    d_normed -= normed
    d_normed *= inverse
    return d_normed


def rotate(x: Floats, cos: Floats, sin: Floats) -> Floats:
    """Rotary embedding in the Hugging Face layout: feature i turns with feature i + head_dim / 2.

    The backward is the rotation by the opposite angle: `rotate(dy, cos, -sin)`.

    Args:
        x: [tokens, heads, head_dim].
        cos: [tokens, 1, head_dim], cosines for the token's position, once for each half.
        sin: The same for sines, negative in the first half.
    """
    half = x.shape[-1] // 2
    swapped = np.empty(x.shape, x.dtype)
    swapped[..., :half] = x[..., half:]
    swapped[..., half:] = x[..., :half]
    swapped *= sin
    y = x * cos
    y += swapped
    return y


def swiglu(gate_up: Floats) -> tuple[Floats, Floats]:
    """Compute silu(gate) * up, where the input holds gate, then up, in its last axis.

    Returns:
        The output, and sigmoid(gate), which `swiglu_backward` needs. Sigmoid is written with tanh, which cannot
        overflow.
    """
    inner = gate_up.shape[1] // 2
    gate, up = gate_up[:, :inner], gate_up[:, inner:]
    sigmoid = gate * 0.5
    np.tanh(sigmoid, out=sigmoid)
    sigmoid *= 0.5
    sigmoid += 0.5
    y = gate * sigmoid
    y *= up
    return y, sigmoid


def swiglu_backward(dy: Floats, gate_up: Floats, sigmoid: Floats) -> Floats:
    """Gradient of `swiglu` with respect to its input, [tokens, 2 * intermediate]."""
    inner = gate_up.shape[1] // 2
    gate, up = gate_up[:, :inner], gate_up[:, inner:]
    d_input = np.empty_like(gate_up)
    silu = gate * sigmoid
    np.multiply(dy, silu, out=d_input[:, inner:])
    # silu' = sigmoid + silu * (1 - sigmoid)
    slope = 1.0 - sigmoid
    slope *= silu
    slope += sigmoid
    slope *= up
    np.multiply(dy, slope, out=d_input[:, :inner])
    return d_input
