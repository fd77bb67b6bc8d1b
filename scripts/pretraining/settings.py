"""The settings of a training, read from config/pretrain.yaml."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from chronos2_attention.errors import InputError
from study.config.yaml_files import load_checked_yaml

from .batches import DataConfig, Phase
from .training import TrainingConfig


def _tuples(fields: dict) -> dict:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}


def load_settings(
    path: str | Path, steps: int | None = None
) -> tuple[dict, DataConfig, TrainingConfig]:
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

    Raises
    ------
    InputError
        If the file does not fit its schema, lists and their weights differ in
        length, a context is longer than the model's, or `steps` is no positive
        integer.
    """
    document = load_checked_yaml(path, "pretrain")
    fields = document["data"]
    phases = tuple(Phase(**_tuples(phase)) for phase in fields["phases"])
    data = DataConfig(**{**_tuples(fields), "phases": phases})
    training = TrainingConfig(**document["training"])
    architecture = document["architecture"]
    chronos = architecture["chronos_config"]
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
    return architecture, data, training


def load_notes(path: str | Path) -> str:
    """Return the remarks on a training that its model card repeats (key `notes`).

    Raises
    ------
    InputError
        If the file does not fit its schema.
    """
    return load_checked_yaml(path, "pretrain")["notes"]
