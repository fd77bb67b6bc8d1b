"""Simulate how often tests and intervals are right, where the truth is known."""

from study.evaluation.simulation import simulations_table
from study.evaluation.statistics import Criteria
from study.jobs.script import rule_script

with rule_script(snakemake) as log:
    params = snakemake.params
    table = simulations_table(
        **params.simulations, seed=params.seed, criteria=Criteria.of(params.statistics)
    )
    table.to_csv(snakemake.output[0], index=False)
    log.info("\n%s", table.to_string(index=False))
