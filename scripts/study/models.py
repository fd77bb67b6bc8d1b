"""Models by name, and how each becomes a folder with config.json and model.safetensors."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chronos2_attention.errors import InputError
from study.config_files import load_checked_yaml
from study.files import sha256_of_file

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
    baseline_rel_mase_max: Mapping[str, float] = field(default_factory=dict)


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


def local_files(spec: ModelSpec, repo_root: Path, mirror: Path | None) -> list[Path]:
    """Return the files on this machine that a model is copied from; empty if it is not copied."""
    if spec.source == "local":
        return [repo_root / spec.path / name for name in CHECKPOINT_FILES]
    if spec.source == "hub" and mirror is not None:
        files = [mirror / spec.repo / name for name in CHECKPOINT_FILES]
        return files if all(file.is_file() for file in files) else []
    return []


def fetch_model(
    spec: ModelSpec, folder: Path, *, repo_root: Path, mirror: Path | None
) -> dict[str, Any]:
    """Put a checkpoint into `folder` and check that it loads strictly.

    Parameters
    ----------
    spec:
        The model.
    folder:
        Gets ``config.json`` and ``model.safetensors``.
    repo_root:
        What a relative `ModelSpec.path` is relative to.
    mirror:
        Holds ``<repo>/config.json`` and ``<repo>/model.safetensors``; asked before the hub.

    Returns
    -------
    Provenance: model, source, repository, revision or seed, checksums, parameters, fingerprint.

    Raises
    ------
    InputError
        If the checkpoint is missing, cannot be reached or does not load strictly.
    """
    from chronos2_attention import checkpoint

    folder.mkdir(parents=True, exist_ok=True)
    provenance: dict[str, Any] = {"model": spec.name, "title": spec.title, "source": spec.source}
    copied = local_files(spec, repo_root, mirror)
    if spec.source == "random":
        _save_random(spec, folder)
        provenance |= {"seed": spec.seed}
    elif copied:
        for file in copied:
            if not file.is_file():
                checkpoint.refuse_other_formats(file.parent)
                raise InputError(
                    f"model '{spec.name}' has no {file.name}",
                    str(file.parent),
                    "put it there, or name another model as suite@model",
                )
            shutil.copyfile(file, folder / file.name)
        if spec.source == "hub":
            provenance |= {"repo": spec.repo, "revision": spec.revision, "from_mirror": True}
        else:
            provenance |= {"path": spec.path}
    else:
        _download(spec, folder, mirror)
        provenance |= {"repo": spec.repo, "revision": spec.revision, "from_mirror": False}
    model, fingerprint = checkpoint.load_model(folder)
    return provenance | {
        "sha256": {name: sha256_of_file(folder / name) for name in CHECKPOINT_FILES},
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "weights_fingerprint": fingerprint,
        "weights_strict": True,
    }


def _download(spec: ModelSpec, folder: Path, mirror: Path | None) -> None:
    from chronos2_attention import checkpoint

    try:
        source = checkpoint.resolve(spec.repo, revision=spec.revision)
    except InputError as error:
        place = f"{mirror}/{spec.repo}" if mirror else f"MIRROR/{spec.repo} with mirror=MIRROR"
        raise InputError(
            error.what, error.where, f"connect, or put {' and '.join(CHECKPOINT_FILES)} in {place}"
        ) from error
    for name in CHECKPOINT_FILES:
        shutil.copyfile(source / name, folder / name)


def _save_random(spec: ModelSpec, folder: Path) -> None:
    import torch

    from chronos2_attention.model import Chronos2VariantModel

    torch.manual_seed(spec.seed)
    model = Chronos2VariantModel(core_config(spec.architecture))
    model.save_pretrained(folder)


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


def read_provenance(path: Path | str) -> dict[str, Any]:
    """Read a model's sidecar as `fetch_model` returned it.

    Raises
    ------
    InputError
        If it is no JSON file.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(
            f"not a JSON file ({error})", str(path), "delete it and run again"
        ) from None
