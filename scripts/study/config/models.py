"""Models by name: where their weights come from, and what they can see."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chronos2_attention.errors import InputError
from study.config.yaml_files import load_checked_yaml

CHECKPOINT_FILES = ("config.json", "model.safetensors")

QUANTILES = [0.01, *(round(0.05 * step, 2) for step in range(1, 20)), 0.99]


@dataclass(frozen=True)
class ModelSpec:
    """One model of ``config/models``.

    Attributes
    ----------
    name:
        Name of its file, and what follows ``@`` in a study's name.
    source:
        ``hub``, ``local`` or ``random``.
    repo, revision:
        Hub repository and the commit it is pinned to.
    path:
        Folder of a local checkpoint, relative to the repository or absolute.
    seed, architecture:
        Of a randomly initialised model.
    baseline_rel_mase_max:
        Gate 3's threshold by suite, where it is not 1.
    """

    name: str
    title: str
    source: str
    repo: str = ""
    revision: str = ""
    path: str = ""
    seed: int = 0
    architecture: Mapping[str, Any] = field(default_factory=dict)
    baseline_rel_mase_max: Mapping[str, float] = field(default_factory=dict, repr=False)


def load_model_spec(name: str, config_dir: Path) -> ModelSpec:
    """Read ``config_dir/models/{name}.yaml``.

    Raises
    ------
    InputError
        If there is no such model, naming those there are, or its file does not fit the schema.
    """
    folder = Path(config_dir) / "models"
    path = folder / f"{name}.yaml"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise InputError(f"unknown model '{name}'", str(folder), f"use one of: {known}")
    return ModelSpec(name=name, **load_checked_yaml(path, "model"))


def local_files(spec: ModelSpec, repo_root: Path) -> list[Path]:
    """Return the files of this machine that a local model is, or should be, copied from."""
    if spec.source != "local":
        return []
    return [repo_root / spec.path / name for name in CHECKPOINT_FILES]


def mirrored_files(spec: ModelSpec, mirror: Path | None) -> list[Path]:
    """Return the files of a mirror that a model of the hub is copied from; empty if it is not."""
    if spec.source != "hub" or mirror is None:
        return []
    files = [mirror / spec.repo / name for name in CHECKPOINT_FILES]
    return files if all(file.is_file() for file in files) else []


def core_config(architecture: Mapping[str, Any]):
    """Return upstream's configuration of a Chronos-2 model of the given sizes."""
    from chronos.chronos2.config import Chronos2CoreConfig

    sizes = dict(architecture)
    context_length = sizes.pop("context_length")
    max_output_patches = sizes.pop("max_output_patches")
    return Chronos2CoreConfig(
        **sizes,
        dropout_rate=0.0,
        chronos_config={
            "context_length": context_length,
            "input_patch_size": 16,
            "input_patch_stride": 16,
            "output_patch_size": 16,
            "quantiles": QUANTILES,
            "use_reg_token": True,
            "use_arcsinh": True,
            "max_output_patches": max_output_patches,
            "time_encoding_scale": context_length,
        },
        architectures=["Chronos2Model"],
        chronos_pipeline_class="Chronos2Pipeline",
    )


def context_limit(setting: int | None, model_limit: int) -> int:
    """Return how many observations of context a model is given.

    Parameters
    ----------
    setting:
        The setting ``forecast.context_length``; None for all that the model takes.
    model_limit:
        All that the model takes.

    Raises
    ------
    InputError
        If the setting is larger, which would promise a context that no forecast had.
    """
    if setting is not None and setting > model_limit:
        raise InputError(
            f"a context of {setting} observations is beyond the model's {model_limit}",
            "forecast.context_length",
            f"give at most {model_limit}, or null for the model's own limit",
        )
    return setting or model_limit


def seen_by_model(config: str | os.PathLike, context_length: int | None) -> int:
    """Return the most observations of context that a model is given.

    Parameters
    ----------
    config:
        The model's ``config.json``.
    context_length:
        The setting; None for the model's own limit.

    Raises
    ------
    InputError
        If the setting exceeds the limit.
    """
    with open(config, encoding="utf-8") as handle:
        limit = int(json.load(handle)["chronos_config"]["context_length"])
    return context_limit(context_length, limit)
