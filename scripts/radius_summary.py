"""Gather the tests of all radii and correct their p-values for being several."""

from study.evaluation.comparison import radius_summary
from study.jobs.files import read_results
from study.jobs.script import rule_script

with rule_script(snakemake) as log:
    alpha = snakemake.params.statistics["alpha"]
    table = radius_summary([read_results(path) for path in snakemake.input], alpha=alpha)
    table.to_csv(snakemake.output[0], index=False)
    shown = ["radius", "mean_delta", "p_holm", "tost_p_holm", "verdict_holm", "median_speedup"]
    log.info("all radii\n%s", table[shown].to_string(index=False))
