"""How a model becomes a folder with config.json and model.safetensors."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch

from chronos2_attention import checkpoint
from chronos2_attention.errors import InputError
from chronos2_attention.model import Chronos2VariantModel
from study.config.models import CHECKPOINT_FILES, ModelSpec, core_config, mirrored_files
from study.data.download import FetchError, unavailable
from study.data.hub import CACHE_MEND, hub_files, hub_origin
from study.jobs.files import sha256_of_file


def fetch_model(
    spec: ModelSpec, folder: Path, *, repo_root: Path, mirror: Path | None
) -> dict[str, Any]:
    """Put a checkpoint into `folder`, check that it loads strictly, and return its provenance."""
    folder.mkdir(parents=True, exist_ok=True)
    provenance: dict[str, Any] = {"model": spec.name, "title": spec.title, "source": spec.source}
    if mirror is not None and not mirror.is_dir():
        raise InputError("no such directory", f"mirror={mirror}", "set mirror to one, or unset it")
    if spec.source == "random":
        origin = folder
        torch.manual_seed(spec.seed)
        Chronos2VariantModel(core_config(spec.architecture)).save_pretrained(folder)
        provenance |= {"seed": spec.seed}
    elif spec.source == "local":
        origin = repo_root / spec.path
        if absent := [name for name in CHECKPOINT_FILES if not (origin / name).is_file()]:
            checkpoint.refuse_other_formats(origin)
            mend = "put it there, or name another model as suite@model"
            raise InputError(f"model {spec.name!r} has no {absent[0]}", str(origin), mend)
        provenance |= {"path": spec.path}
    elif copied := mirrored_files(spec, mirror):
        origin = copied[0].parent
        # Nothing says of which revision the files of a mirror are; their checksums stand below.
        provenance |= hub_origin(spec, None)
    else:
        try:
            found = hub_files(spec.repo, "model", spec.revision, CHECKPOINT_FILES)
        except FetchError as error:
            files = [f"{spec.repo}/{name}" for name in CHECKPOINT_FILES]
            what = f"model {spec.name!r}"
            raise unavailable(what, files, mirror, error, CACHE_MEND) from None
        origin = found.paths[CHECKPOINT_FILES[0]].parent
        provenance |= hub_origin(spec, found.commit) | {"hub_checksums": found.checksums}
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
