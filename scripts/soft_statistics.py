"""Test all soft masks of a sweep, and say where their gain comes from and what it is worth."""

from pathlib import Path

from study.config.study import load_study
from study.forecasts.slices import features_of
from study.jobs.files import atomic_path, read_results
from study.jobs.script import rule_script
from study.soft_masks.pairs import pairs_of, read_baseline, read_batch_sizes
from study.soft_masks.tables import VariantFiles, evaluate_files, sweep_tables, validity_of
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
        validity_of(
            *map(
                read_results,
                (inputs.validity, inputs.accuracy_full, inputs.accuracy_seasonal_naive),
            )
        ),
        features_of(suite, dict(zip(suite.datasets, inputs.data, strict=True))),
        margin=params.tost_margin,
        alpha=params.alpha,
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
