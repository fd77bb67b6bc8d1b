"""What the ``config.json`` of a checkpoint says, checked before anything is built from it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from .checking import Flag, Strict, Text, bounds, check
from .errors import InputError, explained

FETCH_AGAIN = "fetch the checkpoint again, or correct its config.json"
LARGEST_FILE = 10_000_000  # bytes
UNSET: Any = None  # a field that is not given: the default is upstream's

Size = Annotated[int, bounds(1, 2**20)]
Even = Annotated[int, bounds(2, 2**14, multiple_of=2)]  # halves of it are rotated
Observations = Annotated[int, bounds(1, 2**24)]
Patch = Annotated[int, bounds(1, 2**12)]


def _ascending(levels: list[float]) -> list[float]:
    if sorted(set(levels)) != levels:
        raise InputError("levels are not in ascending order")
    return levels


def _activation(name: str) -> str:
    from transformers.activations import ACT2FN

    if name not in ACT2FN:
        raise InputError(f"{name!r} is no activation of transformers")
    return name


Levels = Annotated[
    list[Annotated[float, bounds(gt=0, lt=1)]],
    Field(min_length=1, max_length=1000, fail_fast=True),
    AfterValidator(_ascending),
]
Activation = Annotated[Text, AfterValidator(_activation)]


class Forecasting(Strict):
    """``chronos_config``, upstream's `Chronos2ForecastingConfig`."""

    context_length: Observations
    input_patch_size: Patch
    input_patch_stride: Patch
    output_patch_size: Patch
    quantiles: Levels
    max_output_patches: Annotated[int, bounds(1, 2**16)] = 1
    time_encoding_scale: Observations = UNSET
    use_reg_token: Flag = False
    use_arcsinh: Flag = False

    @model_validator(mode="after")
    def _patches_fit(self) -> Forecasting:
        if self.input_patch_size != self.output_patch_size:
            raise InputError("input_patch_size and output_patch_size differ")
        if self.input_patch_size % self.input_patch_stride:
            raise InputError("input_patch_stride does not divide input_patch_size")
        return self


class Architecture(Strict):
    """The fields of upstream's `Chronos2CoreConfig` that are read; others mean nothing to it."""

    model_config = ConfigDict(extra="ignore")

    d_model: Size = UNSET
    d_kv: Even = UNSET
    d_ff: Size = UNSET
    num_layers: Annotated[int, bounds(1, 1000)] = UNSET
    num_heads: Annotated[int, bounds(1, 2**12)] = UNSET
    dropout_rate: Annotated[float, bounds(0, lt=1)] = UNSET
    layer_norm_epsilon: Annotated[float, bounds(gt=0, lt=1)] = UNSET
    initializer_factor: Annotated[float, bounds(0)] = UNSET
    rope_theta: Annotated[float, bounds(gt=0, most=1e12)] = UNSET
    feed_forward_proj: Activation = UNSET
    dense_act_fn: Activation = UNSET
    dtype: Text | None = None
    torch_dtype: Text | None = None
    attn_implementation: Literal["eager", "sdpa"] | None = None
    architectures: list[Text] | None = None
    chronos_pipeline_class: Text = UNSET
    chronos_config: Forecasting


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file; `InputError` if it is absent, too large, no JSON or holds no object."""
    with explained("not a JSON file", path, errors=(OSError, RecursionError, ValueError)):
        with open(path, "rb") as handle:
            text = handle.read(LARGEST_FILE + 1)
        content = json.loads(text) if len(text) <= LARGEST_FILE else None
    if len(text) > LARGEST_FILE:
        raise InputError(f"larger than {LARGEST_FILE} bytes", str(path), FETCH_AGAIN)
    return check(dict[str, Any], content, str(path), FETCH_AGAIN)


def check_config(content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the fields of a ``config.json`` that `Chronos2CoreConfig` reads, as far as given.

    `InputError` if it is not of a Chronos-2 model, or a field is of a type or size that none has.
    """
    if "chronos_config" not in content:
        raise InputError("no chronos_config", where, "give a Chronos-2 checkpoint")
    return check(Architecture, dict(content), where, FETCH_AGAIN).model_dump(exclude_unset=True)


class _Index(Strict):
    model_config = ConfigDict(extra="ignore")

    weight_map: Annotated[
        dict[Text, Annotated[Text, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*\.safetensors$")]],
        Field(min_length=1, max_length=100_000),
    ]


def read_index(path: Path) -> dict[str, str]:
    """Return the file beside an index of sharded weights that holds each tensor."""
    return check(_Index, read_json(path), str(path), FETCH_AGAIN).weight_map
