"""Models by name: where their weights come from, and what they can see."""

from __future__ import annotations

import os
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from chronos2_attention.checking import Text, check, checked_dataclass, matching, number, whole
from chronos2_attention.errors import InputError
from study.config.yaml_files import REPOSITORY, Name, load_named

CHECKPOINT_FILES = ("config.json", "model.safetensors")
NEEDED = {"hub": ("repo", "revision"), "local": ("path",), "random": ("seed", "architecture")}
QUANTILES = [0.01, *(round(0.05 * step, 2) for step in range(1, 20)), 0.99]


@checked_dataclass
class Architecture:
    """Sizes of a randomly initialised model, see upstream's `Chronos2CoreConfig`."""

    d_model: whole(1, 100_000)
    d_kv: Annotated[whole(2, 10_000), Field(multiple_of=2)]
    d_ff: whole(1, 1_000_000)
    num_layers: whole(1, 1000)
    num_heads: whole(1, 1000)
    context_length: Annotated[whole(16, 1_000_000), Field(multiple_of=16)]
    max_output_patches: whole(1, 10_000)
    initializer_factor: number(gt=0, most=100)


@checked_dataclass
class ModelSpec:
    """A model of ``config/models``; `baseline_rel_mase_max` is gate 3's threshold by suite."""

    name: Text
    title: Text
    source: Literal["hub", "local", "random"]
    repo: matching(rf"({REPOSITORY})?") = ""
    revision: matching(r"\S*") = ""
    path: matching(r"[^\x00]*") = ""
    seed: whole(0, 2**63 - 1) | None = None
    architecture: Architecture | None = None
    baseline_rel_mase_max: dict[Name, number(gt=0, most=1)] = field(
        default_factory=dict, repr=False
    )


def load_model_spec(name: str, config_dir: Path) -> ModelSpec:
    """Read ``config_dir/models/{name}.yaml``; InputError if there is none, or it does not fit."""
    document, path = load_named("model", name, Path(config_dir, "models"))
    spec = check(ModelSpec, document, path)
    for key in NEEDED[spec.source]:
        if getattr(spec, key) in (None, ""):
            reason = f"key {key!r} is missing, which a model of source {spec.source!r} needs"
            raise InputError(reason, path, "see config/README.md")
    return spec


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


def core_config(architecture: Architecture):
    """Return upstream's configuration of a Chronos-2 model of the given sizes."""
    from chronos.chronos2.config import Chronos2CoreConfig

    sizes = asdict(architecture)
    limits = {name: sizes.pop(name) for name in ("context_length", "max_output_patches")}
    return Chronos2CoreConfig(
        **sizes,
        dropout_rate=0.0,
        chronos_config={
            **limits,
            **dict.fromkeys(("input_patch_size", "input_patch_stride", "output_patch_size"), 16),
            "quantiles": QUANTILES,
            "use_reg_token": True,
            "use_arcsinh": True,
            "time_encoding_scale": limits["context_length"],
        },
        architectures=["Chronos2Model"],
        chronos_pipeline_class="Chronos2Pipeline",
    )


def context_limit(setting: int | None, model_limit: int) -> int:
    """Return how many observations a model is given: by default all that it takes, never more."""
    if setting is not None and setting > model_limit:
        reason = f"a context of {setting} observations is beyond the model's {model_limit}"
        mend = f"give at most {model_limit}, or null for the model's own limit"
        raise InputError(reason, "forecast.context_length", mend)
    return setting or model_limit


def seen_by_model(config: str | os.PathLike, context_length: int | None) -> int:
    """Return `context_limit` of the model with this ``config.json``."""
    from chronos2_attention.architecture import check_config, read_json

    content = check_config(read_json(Path(config)), str(config))
    return context_limit(context_length, content["chronos_config"]["context_length"])
