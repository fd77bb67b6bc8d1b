"""Models by name: where their weights come from, and what they can see."""

from __future__ import annotations

import os
from dataclasses import asdict, field
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from chronos2_attention.errors import InputError
from study.config.yaml_files import (
    REPOSITORY,
    Name,
    Strict,
    Text,
    check,
    checked_dataclass,
    find_named,
    load_yaml,
    matching,
    number,
    whole,
)

CHECKPOINT_FILES = ("config.json", "model.safetensors")

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

    name: Text
    title: Text
    source: Literal["hub", "local", "random"]
    repo: matching(rf"({REPOSITORY})?") = ""
    revision: matching(r"\S*") = ""
    path: matching(r"[^\x00]*") = ""
    seed: whole(0, 2**63 - 1) = 0
    architecture: Architecture | None = None
    baseline_rel_mase_max: dict[Name, number(gt=0, most=1)] = field(
        default_factory=dict, repr=False
    )


NEEDED = {"hub": ("repo", "revision"), "local": ("path",), "random": ("seed", "architecture")}


class _Outline(Strict):
    model_config = ConfigDict(extra="allow")

    name: Literal[None] = None
    source: Literal[tuple(NEEDED)]


def load_model_spec(name: str, config_dir: Path) -> ModelSpec:
    """Read ``config_dir/models/{name}.yaml``.

    Raises
    ------
    InputError
        If there is no such model, naming those there are, or its file does not fit.
    """
    path = find_named("model", name, Path(config_dir, "models"))
    document = load_yaml(path)
    source = check(_Outline, document, str(path)).source
    for key in NEEDED[source]:
        if document.get(key) in (None, ""):
            raise InputError(
                f"key {key!r} is missing, which a model of source {source!r} needs",
                str(path),
                "see config/README.md",
            )
    return check(ModelSpec, {**document, "name": name}, str(path))


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
    from chronos2_attention.architecture import check_config, read_json

    content = check_config(read_json(Path(config)), str(config))
    return context_limit(context_length, content["chronos_config"]["context_length"])
