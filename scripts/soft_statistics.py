"""Test all soft masks of a sweep, and say where their gain comes from and what it is worth."""

from pathlib import Path

import pandas as pd

from study.config.study import load_study
from study.config.suites import feature_of
from study.evaluation.gates import validity_of
from study.evaluation.statistics import Criteria
from study.jobs.files import atomic_path
from study.jobs.script import rule_script
from study.soft_masks.pairs import pairs_of, read_baseline, read_batch_sizes
from study.soft_masks.tables import VariantFiles, evaluate_files, sweep_tables
from study.soft_masks.verdicts import as_markdown

with rule_script(snakemake) as log:
    inputs, params, name = snakemake.input, snakemake.params, snakemake.wildcards.study
    suite = load_study(name, Path(params.config_dir), params.only).suite
    baseline = read_baseline(inputs.scores_full, inputs.forecasts_full)
    pairs = pairs_of(baseline, suite.pairs, read_batch_sizes(inputs.similarity))
    log.info(
        "%d forecasts of %d tasks, %d variants, %d %s mix and %d do not",
        len(pairs.pair),
        len(baseline.keys),
        len(params.variants),
        pairs.mixing.sum(),
        "tasks" if pairs.unit == "task" else "series",
        (~pairs.mixing).sum(),
    )
    paths = zip(inputs.scores, inputs.forecasts, inputs.masses, strict=True)
    files = [VariantFiles(*three) for three in paths]
    tables = sweep_tables(
        name,
        baseline,
        pairs,
        evaluate_files(baseline, pairs, dict(zip(params.variants, files, strict=True))),
        params.controls,
        validity_of(pd.read_csv(inputs.validity)),
        lambda task, item: feature_of(suite.task(task), item),
        Criteria(params.alpha, params.tost_margin),
        resamples=params.resamples,
        seed=params.seed,
    )
    for table, frame in tables.items():
        with atomic_path(snakemake.output[table]) as path:
            frame.to_csv(path, index=False)
    page = as_markdown(tables["verdicts"], f"Soft group masks: {name}")
    with atomic_path(snakemake.output.page) as path:
        path.write_text(page, encoding="utf-8")
    log.info("%s", page)
