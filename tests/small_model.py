"""A small model with random weights, for tests of the library."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """The models here are small: several threads would cost more than they give."""
    import torch

    torch.set_num_threads(1)


QUANTILE_LEVELS = [0.01, *(round(0.05 * step, 2) for step in range(1, 20)), 0.99]


def build_upstream_model(seed: int = 0, **sizes):
    """Return a small upstream model with random weights whose forecasts stay of moderate size."""
    import torch
    from chronos.chronos2 import Chronos2Model
    from chronos.chronos2.config import Chronos2CoreConfig

    torch.manual_seed(seed)
    context_length = sizes.pop("context_length", 512)
    initializer_factor = sizes.pop("initializer_factor", 0.12)
    shape = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 3, "num_heads": 4} | sizes
    config = Chronos2CoreConfig(
        **shape,
        dropout_rate=0.0,
        initializer_factor=initializer_factor,
        chronos_config={
            "context_length": context_length,
            "input_patch_size": 16,
            "input_patch_stride": 16,
            "output_patch_size": 16,
            "quantiles": QUANTILE_LEVELS,
            "use_reg_token": True,
            "use_arcsinh": True,
            "max_output_patches": 4,
        },
        architectures=["Chronos2Model"],
        chronos_pipeline_class="Chronos2Pipeline",
    )
    return Chronos2Model(config).eval()


@pytest.fixture(scope="session")
def checkpoint_dir(tmp_path_factory) -> Path:
    """A small checkpoint as upstream saves it."""
    folder = tmp_path_factory.mktemp("checkpoint")
    build_upstream_model().save_pretrained(folder)
    return folder
