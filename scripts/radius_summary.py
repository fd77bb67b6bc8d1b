"""Gather the tests of all radii and correct their p-values for being several."""

from study.evaluation.comparison import radius_summary
from study.jobs.files import atomic_path, read_results
from study.jobs.script import rule_script

with rule_script(snakemake) as log:
    table = radius_summary(
        [read_results(path) for path in snakemake.input], alpha=snakemake.params.alpha
    )
    with atomic_path(snakemake.output[0]) as path:
        table.to_csv(path, index=False)
    shown = ["radius", "mean_delta", "p_holm", "tost_p_holm", "verdict_holm", "median_speedup"]
    log.info("all radii\n%s", table[shown].to_string(index=False))
