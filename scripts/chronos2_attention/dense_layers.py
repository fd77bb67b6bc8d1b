"""What surrounds attention in a block, on upstream's weights: norms, products, feed forward, RoPE.

As upstream's modules, in fewer passes over memory and in place, so for inference only.
"""

from __future__ import annotations

import torch
from chronos.chronos2.layers import (
    MHA,
    MLP,
    Chronos2LayerNorm,
    Chronos2RotaryEmbedding,
    FeedForward,
    GroupSelfAttention,
    TimeSelfAttention,
)
from chronos.chronos2.model import Chronos2Encoder, Chronos2EncoderBlock
from torch import nn
from torch.nn.functional import linear, rms_norm

from .time_attention import TimeAttention

# Rows of the feed forward layer at a time: few enough on a CPU for its inner layer to stay in
# cache, and for the allocator to hand out the same memory again; on a GPU enough to fill it.
INNER_ROWS = {False: 1024, True: 32768}

# What upstream's encoder consists of, activations aside.
PARTS = {
    *(Chronos2Encoder, Chronos2EncoderBlock),
    *(TimeSelfAttention, GroupSelfAttention, FeedForward, MHA, MLP),
    *(Chronos2LayerNorm, Chronos2RotaryEmbedding, nn.ModuleList, nn.Dropout, nn.Linear),
}
ACTIVATIONS = ("torch.nn.modules.activation", "transformers.activations")


def obstacle(encoder: nn.Module, device: torch.device) -> str:
    """Say why these functions cannot stand in for upstream's encoder; empty where they can.

    They bypass the modules that hold the weights: autocast, replaced layers, hooks and dropout
    would be passed over.
    """
    if torch.is_autocast_enabled(device.type):
        return "torch.autocast is on"
    found: list[nn.Module] = [encoder]
    for module in found:  # which grows
        kind = type(module)
        if kind not in PARTS and kind.__module__ not in ACTIVATIONS:
            return f"a layer is a {kind.__module__}.{kind.__qualname__}"
        # Read where torch keeps them: this runs for each batch.
        has = module.__dict__
        if has["_forward_hooks"] or has["_forward_pre_hooks"] or "forward" in has:
            return f"a {kind.__name__} has a hook"
        if has["training"]:
            return f"a {kind.__name__} is in training mode"
        if kind is nn.Linear:
            parameters = has["_parameters"]
            weight = parameters.get("weight")
            # A parameter of another type is quantised or sharded; one made a bare tensor is vmap's.
            is_odd = isinstance(weight, nn.Parameter) or type(weight) in (torch.Tensor, type(None))
            if (is_odd and type(weight) is not nn.Parameter) or parameters.get("bias") is not None:
                return f"a Linear has a bias, or weights of type {type(weight).__name__}"
        elif has["_modules"]:
            found += has["_modules"].values()
    return ""


def normalise(layer: Chronos2LayerNorm, hidden: torch.Tensor) -> torch.Tensor:
    """Apply upstream's norm, in float32; on a GPU in one kernel, which rounds once, not twice."""
    if hidden.is_cuda:
        return rms_norm(hidden, layer.weight.shape, layer.weight, layer.variance_epsilon)
    precise = hidden.to(torch.float32)
    norm = torch.linalg.vector_norm(precise, dim=-1, keepdim=True)
    mean_square = norm.square_().div_(hidden.shape[-1])
    normed = hidden * mean_square.add_(layer.variance_epsilon).rsqrt_()
    return normed.to(layer.weight.dtype).mul_(layer.weight)


def add_product(hidden: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Add a product to contiguous hidden states, in place: ``hidden += x @ weight.T``."""
    hidden.view(-1, weight.shape[0]).addmm_(x.reshape(-1, weight.shape[1]), weight.t())
    return hidden


def feed_forward(layer: FeedForward, hidden: torch.Tensor) -> torch.Tensor:
    """Apply upstream's feed forward layer to contiguous hidden states (..., d), in place."""
    mlp = layer.mlp
    rows = hidden.view(-1, hidden.shape[-1])
    for part in rows.split(INNER_ROWS[hidden.device.type == "cuda"]):
        inner = linear(normalise(layer.layer_norm, part), mlp.wi.weight)
        is_relu = isinstance(mlp.act, torch.nn.ReLU)
        inner = inner.relu_() if is_relu else mlp.act(inner)
        add_product(part, inner, mlp.wo.weight)
    return hidden


def rotation(
    embed: Chronos2RotaryEmbedding, hidden: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return cosines (S, D) and sines (S, D / 2) for (B, S, d): halves of upstream's are equal."""
    positions = torch.arange(hidden.shape[1], device=hidden.device)[None]
    cos, sin = (part[0] for part in embed(hidden, positions))
    return cos, sin.chunk(2, dim=-1)[0]


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotate queries or keys (B, H, S, D), with half-split RoPE; see `rotation`."""
    first, second = x.chunk(2, dim=-1)
    rotated = x * cos
    halves = rotated.chunk(2, dim=-1)
    halves[0].addcmul_(second, sin, value=-1)
    halves[1].addcmul_(first, sin)
    return rotated


def time_layer(
    layer: TimeSelfAttention,
    hidden: torch.Tensor,
    time: TimeAttention,
    rope: tuple[torch.Tensor, torch.Tensor],
    first: int,
) -> torch.Tensor:
    """Apply upstream's time layer to tokens from `first` on: (B, S, d) -> (B, S - first, d)."""
    attention = layer.self_attention
    normed = normalise(layer.layer_norm, hidden)

    def heads(x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (attention.n_heads, attention.kv_proj_dim)).transpose(1, 2)

    k, v = heads(attention.k(normed)), heads(attention.v(normed))
    q = heads(attention.q(normed[:, first:]))
    del normed
    k = rotate(k, *rope)
    q = rotate(q, *(part[first:] for part in rope))
    attended = time(q, k, v) if first == 0 else time.future(q, k, v)
    del q, k, v
    kept = hidden[:, first:].contiguous()
    return add_product(kept, attended.transpose(1, 2).flatten(-2), attention.o.weight)
