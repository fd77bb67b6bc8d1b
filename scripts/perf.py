"""Put a method's times and memory beside its accuracy, as fev's leaderboard reads it."""

from study.evaluation.comparison import with_timings
from study.jobs.files import read_results
from study.jobs.script import rule_script

with rule_script(snakemake):
    inputs = snakemake.input
    timed = inputs.get("efficiency")
    table = with_timings(
        read_results(inputs.accuracy),
        read_results(timed) if timed else None,
        snakemake.wildcards.method,
    )
    table.to_csv(snakemake.output[0], index=False)
