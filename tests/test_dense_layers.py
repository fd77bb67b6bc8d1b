"""Norms, feed forward and RoPE equal upstream's modules, and no gradient is lost in place."""

import pytest
import torch
from chronos.chronos2.layers import Chronos2RotaryEmbedding
from small_model import build_upstream_model

from chronos2_attention import Chronos2VariantPipeline, dense_layers

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 3e-2, torch.float64: 1e-6}


@pytest.fixture(scope="module")
def block():
    return build_upstream_model(seed=3, initializer_factor=0.5).encoder.block[0]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("inner_rows", [1, 7, 1024])
@torch.no_grad()
def test_norm_and_feed_forward_equal_upstream(block, dtype, inner_rows, monkeypatch):
    monkeypatch.setattr(dense_layers, "INNER_ROWS", {False: inner_rows})
    layer = block.layer[2].to(dtype)
    hidden = torch.randn(3, 5, layer.layer_norm.weight.shape[0]).to(dtype)
    options = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    normed = dense_layers.normalise(layer.layer_norm, hidden)
    torch.testing.assert_close(normed, layer.layer_norm(hidden), **options)
    wanted = layer(hidden)
    torch.testing.assert_close(dense_layers.feed_forward(layer, hidden), wanted, **options)


def test_rotation_equals_upstream(block):
    x = torch.randn(2, 3, 9, block.layer[0].self_attention.kv_proj_dim)
    embed = block.layer[0].self_attention.rope_embed
    cos, sin = embed(x, torch.arange(9)[None])
    wanted, _ = Chronos2RotaryEmbedding.apply_rotary_pos_emb(x, x, cos, sin)
    found = dense_layers.rotate(x, *dense_layers.rotation(embed, torch.randn(2, 9, 64)))
    torch.testing.assert_close(found, wanted)


def test_gradients_are_those_of_upstream(checkpoint_dir):
    model = Chronos2VariantPipeline.from_pretrained(checkpoint_dir).model
    context = torch.randn(3, 64).cumsum(-1)
    with torch.no_grad():
        wanted = model(context).quantile_preds
    found = model(context).quantile_preds
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    found.sum().backward()
    assert model.encoder.block[0].layer[2].mlp.wi.weight.grad.abs().sum() > 0
