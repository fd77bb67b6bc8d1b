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
    """Return the files on this machine that a model is copied from; empty if it is not copied.

    Those of a local model are returned as far as they exist: `fetch_model` says what is absent.
    """
    if spec.source == "local":
        files = [repo_root / spec.path / name for name in CHECKPOINT_FILES]
        return [file for file in files if file.is_file()]
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
    if mirror is not None and not mirror.is_dir():
        raise InputError("no such directory", f"mirror={mirror}", "set mirror to one, or unset it")
    if spec.source == "random":
        _save_random(spec, folder)
        origin = folder
        provenance |= {"seed": spec.seed}
    elif spec.source == "local":
        origin = repo_root / spec.path
        _need_checkpoint(spec, origin)
        provenance |= {"path": spec.path}
    elif copied := local_files(spec, repo_root, mirror):
        origin = copied[0].parent
        # Nothing says of which revision the files of a mirror are; their checksums stand below.
        provenance |= _hub_provenance(spec, None)
    else:
        origin, found = _download(spec, mirror)
        provenance |= found
    # Loaded where they come from, so that a message names files that the user knows.
    model, fingerprint = checkpoint.load_model(origin)
    if origin != folder:
        for name in CHECKPOINT_FILES:
            shutil.copyfile(origin / name, folder / name)
    return provenance | {
        "sha256": {name: sha256_of_file(folder / name) for name in CHECKPOINT_FILES},
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "weights_fingerprint": fingerprint,
        "weights_strict": True,
    }


def _need_checkpoint(spec: ModelSpec, folder: Path) -> None:
    from chronos2_attention import checkpoint

    for name in CHECKPOINT_FILES:
        if not (folder / name).is_file():
            checkpoint.refuse_other_formats(folder)
            raise InputError(
                f"model '{spec.name}' has no {name}",
                str(folder),
                "put it there, or name another model as suite@model",
            )


def _hub_provenance(spec: ModelSpec, commit: str | None) -> dict[str, Any]:
    return {
        "repo": spec.repo,
        "revision_requested": spec.revision,
        "revision": commit,
        "from_mirror": commit is None,
    }


def _download(spec: ModelSpec, mirror: Path | None) -> tuple[Path, dict[str, Any]]:
    """Return the folder of the checkpoint in the hub's cache, and its provenance."""
    from study.hub import HubError, hub_files

    try:
        found = hub_files(spec.repo, "model", spec.revision, CHECKPOINT_FILES)
    except HubError as error:
        tried = f"no files in {mirror / spec.repo}, and " if mirror is not None else ""
        ways = [error.mend] if error.mend else []
        ways += [
            f"put {' and '.join(CHECKPOINT_FILES)} into DIRECTORY/{spec.repo}"
            " and set mirror=DIRECTORY",
            "fill the Hugging Face cache (HF_HOME) on a machine with a network",
        ]
        raise InputError(
            f"cannot get model '{spec.name}': {tried}{error}", "", ", or ".join(ways)
        ) from None
    provenance = _hub_provenance(spec, found.commit) | {"hub_checksums": found.checksums}
    return found.paths[CHECKPOINT_FILES[0]].parent, provenance


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
