"""Gather the tests of all radii and correct their p-values for being several."""

from study.config.plans import EXPLORATORY
from study.evaluation.comparison import radius_summary
from study.evaluation.statistics import Criteria
from study.jobs.files import read_results
from study.jobs.script import rule_script

with rule_script(snakemake) as log:
    criteria = Criteria.of(snakemake.params.statistics)
    rows, compared = (
        [read_results(path) for path in paths]
        for paths in (snakemake.input.ttest, snakemake.input.compare)
    )
    table = radius_summary(rows, compared, criteria).fillna({"plan": EXPLORATORY})
    table.to_csv(snakemake.output[0], index=False)
    shown = ["radius", "effect", "log_ratio_mean", "log_ratio_p_family", "verdict_family"]
    log.info("all radii\n%s", table[shown].to_string(index=False))
