"""Names of result files: what a requested file asks for, checked before anything runs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from chronos2_attention import AttentionVariant, InputError
from chronos2_attention.variants.soft import MEASURES
from study.config.datasets import find_spec, load_registry
from study.config.models import load_model_spec
from study.config.study import load_study

STUDY = r"(?P<study>[^/]+?)"

# A study's name may hold underscores too: a variant begins with the first word of its family.
FAMILIES = "|".join(sorted({re.match("[a-z]+", p)[0] for p in AttentionVariant.patterns()}))

VARIANT = rf"(?P<variant>(?:{FAMILIES})(?:_[^/]+?)?)"

TARGETS = [
    re.compile(pattern)
    for pattern in (
        r"data/(?P<dataset>[^/]+)\.(?:parquet|json)",
        r"models/(?P<model>[^/]+)(?:\.json|/config\.json|/model\.safetensors)",
        rf"forecasts/{STUDY}_seasonal_naive\.parquet",
        rf"forecasts/{STUDY}_{VARIANT}\.parquet",
        rf"scores/{STUDY}_seasonal_naive\.parquet",
        rf"scores/{STUDY}_{VARIANT}\.parquet",
        rf"similarity/{STUDY}_(?P<measure>[^/_]+)\.parquet",
        rf"{STUDY}_perf_compare_r(?P<radius>[^/]*)\.csv",
        rf"{STUDY}_perf_seasonal_naive\.csv",
        rf"{STUDY}_perf_(?P<variant>[^/]+)\.csv",
        rf"{STUDY}_ttest_r(?P<radius>[^/]*)\.csv",
        rf"{STUDY}_(?:radius_summary|validity|mass_per_window|mass_summary)\.csv",
        rf"{STUDY}_soft_ttest_(?P<soft>[^/]*)\.csv",
        rf"{STUDY}_soft_(?:summary|by_[a-z_]+|smoothing)\.csv",
        rf"{STUDY}_soft_verdicts\.(?:csv|md)",
        rf"figures/{STUDY}_soft_[a-z_]+\.(?:svg|png)",
        rf"mass/{STUDY}_(?:heads|layers)\.parquet",
        rf"accuracy/{STUDY}_seasonal_naive\.csv",
        rf"(?:accuracy|efficiency|group_mass)/{STUDY}_{VARIANT}\.csv",
        rf"efficiency/{STUDY}_radii\.csv",
        rf"report/{STUDY}_(?:sparse_verdicts|validity|radius_summary|perf|perf_compare|configuration)\.html",
        rf"report/{STUDY}_(?:mass_summary|mass_per_window)\.html",
        rf"report/{STUDY}_soft_(?:verdicts|summary|by_[a-z_]+|smoothing)\.html",
    )
]


def check_targets(
    targets: Iterable[str], results: str, config_dir: Path, only: str | list[str] | None
) -> None:
    """Check the study, variant, measure or data set in the name of each requested result.

    Snakemake itself can only say that no rule makes a file; this says which word of its name is
    unknown, and which are known.

    Parameters
    ----------
    targets:
        Files or rules, as given on the command line.
    results:
        Folder of the results; other targets are left to Snakemake.
    config_dir:
        Holds suites, models and ``datasets.yaml``.
    only:
        Tasks that suites are restricted to, or None.

    Raises
    ------
    InputError
        If a suite, model, task, variant, measure or data set is unknown.
    """
    for target in targets:
        name = str(target).removeprefix("./")
        if not name.startswith(f"{results}/") or name == f"{results}/prior_validity.csv":
            continue
        name = name.removeprefix(f"{results}/")
        if ".." in name.split("/"):
            raise InputError("a name of a result holds '..'", target, f"name a file in {results}/")
        match = next(filter(None, (pattern.fullmatch(name) for pattern in TARGETS)), None)
        if match is None:
            continue
        found = match.groupdict()
        if "dataset" in found:
            registry = load_registry(config_dir / "datasets.yaml")
            find_spec(registry, found["dataset"])
            continue
        if "model" in found:
            load_model_spec(found["model"], config_dir)
            continue
        study = load_study(found["study"], config_dir, only)
        registry = load_registry(config_dir / "datasets.yaml")
        for dataset in study.suite.datasets:
            find_spec(registry, dataset)
        if found.get("radius") is not None:
            AttentionVariant.parse(f"sparse_r{found['radius']}")
        if found.get("measure") is not None and found["measure"] not in MEASURES:
            known = ", ".join(MEASURES)
            raise InputError(f"unknown similarity {found['measure']!r}", target, f"use {known}")
        if found.get("soft") is not None:
            AttentionVariant.parse(f"soft_{found['soft']}")
        if found.get("variant") is not None:
            AttentionVariant.parse(found["variant"])
