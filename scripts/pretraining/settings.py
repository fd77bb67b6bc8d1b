"""The settings of a training, read from config/pretrain.yaml."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from chronos2_attention.architecture import Activation, Even, Forecasting, Observations, Size
from chronos2_attention.checking import Flag, Strict, Text, whole
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
    """Read and check the settings of a training.

    Parameters
    ----------
    path:
        A file like config/pretrain.yaml.
    steps:
        Replaces `training.steps`, if given.

    Returns
    -------
    architecture : dict
        Fields of upstream's `Chronos2CoreConfig`.
    data : DataConfig
    training : TrainingConfig
    notes : str
        Remarks that the model card repeats.

    Raises
    ------
    InputError
        If a setting does not fit, lists and their weights differ in length, a context is longer
        than the model's, or `steps` is no positive integer.
    """
    settings = load_checked(_Settings, path, "see config/pretrain.yaml")
    data, training = settings.data, settings.training
    architecture = settings.architecture.model_dump()
    chronos = architecture["chronos_config"]
    phases = data.phases
    pairs = [(phase.context_weights, data.context_lengths, "context_weights") for phase in phases]
    pairs += [(phase.size_weights, data.group_sizes, "size_weights") for phase in phases]
    for weights, values, name in pairs:
        if len(weights) != len(values):
            raise InputError(
                f"data: {name} has {len(weights)} entries for {len(values)} values",
                str(path),
                "give one weight for each",
            )
    starts = [phase.from_chunk for phase in phases]
    if starts[0] != 0 or starts != sorted(set(starts)):
        raise InputError(
            f"data.phases start at chunks {starts}", str(path), "start at 0 and ascend"
        )
    if list(data.context_lengths) != sorted(data.context_lengths):
        raise InputError("data.context_lengths is not sorted", str(path), "sort it")
    if data.context_lengths[-1] > chronos["context_length"]:
        raise InputError(
            f"data.context_lengths goes up to {data.context_lengths[-1]}, "
            f"the model's context is {chronos['context_length']}",
            str(path),
            "shorten the one or lengthen the other",
        )
    if len(data.horizon_weights) > chronos["max_output_patches"]:
        raise InputError(
            f"data.horizon_weights has {len(data.horizon_weights)} entries, "
            f"max_output_patches is {chronos['max_output_patches']}",
            str(path),
            "give at most one weight for each output patch",
        )
    if steps is not None:
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
            raise InputError(
                f"pretrain_steps is {steps!r}", "--config", "give a positive whole number"
            )
        training = replace(training, steps=steps)
    return architecture, data, training, settings.notes
