"""The workflow's settings, as the configuration file and the command line give them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from chronos2_attention import AttentionVariant
from chronos2_attention.checking import Flag, Many, Pair, Some, Unique, matching, number, whole
from chronos2_attention.errors import InputError
from chronos2_attention.variants.soft import CONTROLS, MEASURES, Soft
from study.config.suites import EVERY_TASK
from study.config.yaml_files import Strict, Text, check, load_checked

WHERE = "the configuration (config/config.yaml and --config)"


def _has_a_name(temperature: float) -> float:
    if float(Soft(MEASURES[0], temperature).name.rpartition("_t")[2]) != temperature:
        raise InputError(f"{temperature} has more than 12 decimals", mend="round it")
    return temperature


Radius = whole(0, 1_000_000)
Temperature = Annotated[number(0, most=1_000_000), AfterValidator(_has_a_name)]
Count = whole(1)
Share = number(gt=0, most=0.5)
MEASURE = Literal[MEASURES]
VariantName = Annotated[Text, AfterValidator(lambda name: str(AttentionVariant.parse(name)))]
BACKEND = Literal["reference", "banded", "flex", "flash"]


class Network(Strict):
    min_kb_per_s: number(0)
    max_minutes: number(gt=0)
    max_gb: number(gt=0)


class Forecast(Strict):
    device: matching(r"auto|cpu|cuda(:[0-9]{1,3})?")
    dtype: Literal["float32", "tf32", "bfloat16"]
    batch_size: whole(1, 1_000_000)
    context_length: whole(1, 1_000_000) | None
    threads: whole(1, 4096)
    seed: whole(0, 2**32 - 1)


class Similarity(Strict):
    min_common: whole(1, 1_000_000)
    no_evidence: number(0, most=1)
    distance_scale: number(gt=0) | None


class Shuffles(Strict):
    number: whole(20, 10_000)
    windows_per_task: Count


class SoftMasks(Strict):
    measures: Unique[MEASURE]
    temperatures: Unique[Temperature]
    controls: Annotated[Many[Literal[CONTROLS]], Field(max_length=len(CONTROLS))]
    mass_windows_per_task: Count
    resamples: whole(1, 1_000_000)
    shuffles: Shuffles


class GroupValue(Strict):
    variants: Unique[VariantName]


class Sparse(Strict):
    backend: Literal["auto"] | BACKEND
    chunk_size: whole(1, 1_000_000) | None


class Mass(Strict):
    radii: Unique[Radius]
    max_windows_per_task: Count
    max_series_per_window: Count
    exclude_reg_query: Flag


class Efficiency(Strict):
    perf_repeats: whole(1, 10_000)
    max_series_per_task: Count


class Simulations(Strict):
    clusters: Some[whole(2, 10_000)]
    sizes: Some[whole(1, 10_000)]
    intraclass: Some[number(0, most=1)]
    effects: Some[number(gt=-1, most=10)]
    spread: number(gt=0, most=10)
    simulations: whole(1, 10_000_000)


class Benchmark(Strict):
    dense: Many[Pair[whole(1, 1_000_000)]]
    dense_cuda: Many[Pair[whole(1, 1_000_000)]]
    dtypes: Many[Literal["float32", "bfloat16"]]
    radii: Many[Radius]
    backends: Many[BACKEND]
    backend_radii: Many[Radius]
    repeats: whole(1, 10_000)
    seconds: number(0, most=1_000_000)
    scale: Some[whole(1, 100_000_000)]
    simulations: Simulations


class Statistics(Strict):
    alpha: Share
    tost_margin: Share
    data_tolerance: number(gt=0, most=0.1)


class Settings(Strict):
    """All of them; each is explained in config/config.yaml."""

    run: Unique[Text]
    mirror: Text | None
    network: Network
    only: Text | Some[Text] | None
    num_windows: whole(1, 1_000_000) | None
    radii: Unique[Radius]
    forecast: Forecast
    similarity: Similarity
    soft: SoftMasks
    group_value: GroupValue
    sparse: Sparse
    mass: Mass
    efficiency: Efficiency
    benchmark: Benchmark
    statistics: Statistics
    pretrain_steps: whole(1) | None = None


def complete(config: dict[str, Any], defaults: Path) -> None:
    """Add to Snakemake's `config`, in place, what a workflow that uses this one leaves out."""
    _add_missing(config, load_checked(dict[str, Any], defaults))


def _add_missing(config: dict[str, Any], defaults: dict[str, Any]) -> None:
    for key, value in defaults.items():
        if key not in config:
            config[key] = value
        elif isinstance(value, dict) and isinstance(config[key], dict):
            _add_missing(config[key], value)


def settle(config: dict[str, Any]) -> None:
    """Check settings and bring them to their types, in place: ``--config`` leaves text in lists."""
    for key in ("run", "radii"):
        if isinstance(config.get(key), str):
            config[key] = config[key].split(",")
    if type(config.get("radii")) is int:
        config["radii"] = [config["radii"]]
    for key, value in config.items():
        if isinstance(value, list | dict) and key not in ("run", "only"):
            config[key] = _typed(value)
    check(Settings, config, WHERE)
    if config["num_windows"] is not None:
        only = config["only"] or []
        words = only.split(",") if isinstance(only, str) else list(only)
        config["only"] = [*words, f"{EVERY_TASK}:{config['num_windows']}"]


def _typed(value: Any) -> Any:
    """Read numbers, truth values and null inside a list or mapping from their text."""
    if isinstance(value, dict):
        return {key: _typed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    if not isinstance(value, str) or len(value) > 300:
        return value
    if re.fullmatch(r"[-+]?\d+", value, re.ASCII):
        return int(value)
    if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", value, re.ASCII):
        return float(value)
    return {"true": True, "false": False, "null": None}.get(value, value)
