"""Test one soft mask against the baseline, its controls and the smoothed baseline."""

from pathlib import Path

from study.config.study import load_study
from study.jobs.files import atomic_path, read_results
from study.jobs.script import rule_script
from study.soft_masks.pairs import pairs_of, read_baseline, read_batch_sizes
from study.soft_masks.tables import VariantFiles, evaluate_files, rows_of, validity_of

with rule_script(snakemake) as log:
    inputs, params, name = snakemake.input, snakemake.params, snakemake.wildcards.study
    suite = load_study(name, Path(params.config_dir), params.only).suite
    baseline = read_baseline(inputs.scores_full, inputs.forecasts_full)
    pairs = pairs_of(baseline, suite.pairs, read_batch_sizes(inputs.similarity))
    paths = zip(inputs.scores, inputs.forecasts, inputs.masses, strict=True)
    files = [VariantFiles(*three) for three in paths]
    rows = rows_of(
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
        margin=params.tost_margin,
        alpha=params.alpha,
    )
    row = rows[params.variants[0]]
    with atomic_path(snakemake.output[0]) as path:
        row.to_csv(path, index=False)
    log.info("\n".join(f"{column}: {value}" for column, value in row.iloc[0].items()))
