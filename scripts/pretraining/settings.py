"""The settings of a training, read from config/pretrain.yaml."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from chronos2_attention.architecture import Activation, Even, Forecasting, Observations, Size
from chronos2_attention.checking import Flag, Strict, Text, check, whole
from chronos2_attention.errors import InputError
from study.config.yaml_files import load_checked

from .batches import PATCH, DataConfig, Points
from .training import TrainingConfig


class _Forecasting(Forecasting):
    """``chronos_config``; every field is given, and patches are as the batches have them."""

    context_length: Points
    input_patch_size: Literal[PATCH]
    input_patch_stride: Literal[PATCH]
    output_patch_size: Literal[PATCH]
    max_output_patches: whole(1, 2**16)
    time_encoding_scale: Observations
    use_reg_token: Flag
    use_arcsinh: Flag


class _Architecture(Strict):
    d_model: Size
    d_kv: Even
    d_ff: Size
    num_layers: whole(1, 1000)
    num_heads: whole(1, 2**12)
    dropout_rate: Literal[0.0]
    feed_forward_proj: Activation
    chronos_config: _Forecasting


class _Settings(Strict):
    notes: Text
    architecture: _Architecture
    data: DataConfig
    training: TrainingConfig


def load_settings(
    path: str | Path, steps: int | None = None
) -> tuple[dict, DataConfig, TrainingConfig, str]:
    """Fields of `Chronos2CoreConfig`, data, training, notes; `steps`, if given, is training's."""
    settings = load_checked(_Settings, path, "see config/pretrain.yaml")
    data, training = settings.data, settings.training
    architecture, chronos = settings.architecture.model_dump(), settings.architecture.chronos_config
    longest, patches = chronos.context_length, chronos.max_output_patches
    lengths, horizons = data.context_lengths, len(data.horizon_weights)
    starts = [phase.from_chunk for phase in data.phases]
    weights = [("context_weights", phase.context_weights, lengths) for phase in data.phases]
    weights += [("size_weights", phase.size_weights, data.group_sizes) for phase in data.phases]
    faults = [
        (
            len(given) != len(values),
            f"data: {name} has {len(given)} entries for {len(values)} values",
            "give one weight for each",
        )
        for name, given, values in weights
    ] + [
        (
            starts != sorted({0, *starts}),
            f"data.phases start at chunks {starts}",
            "start at 0 and ascend",
        ),
        (list(lengths) != sorted(lengths), "data.context_lengths is not sorted", "sort it"),
        (
            lengths[-1] > longest,
            f"data.context_lengths goes up to {lengths[-1]}, the model's context is {longest}",
            "shorten the one or lengthen the other",
        ),
        (
            horizons > patches,
            f"data.horizon_weights has {horizons} entries, max_output_patches is {patches}",
            "give at most one weight for each output patch",
        ),
    ]
    for wrong, what, mend in faults:
        if wrong:
            raise InputError(what, str(path), mend)
    if steps is not None:
        steps = check(whole(1), steps, "pretrain_steps", "give a positive whole number")
        training = replace(training, steps=steps)
    return architecture, data, training, settings.notes
