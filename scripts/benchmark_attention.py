"""Time upstream, the dense engine and every sparse backend, of one regime; or gather regimes."""

from study.forecasts.chronos2 import pipeline_of
from study.jobs.files import read_tables
from study.jobs.script import rule_script
from study.speed.engine import RAGGED, dense_regime, ragged_regime, run_benchmark

SHOWN = [
    *("regime", "method", "radius", "backend_ran", "seconds_median", "ratio_to_upstream"),
    *("paired_ratio_to_full", "memory_ratio_to_full", "max_rel_difference"),
]

with rule_script(snakemake) as log:
    params, inputs = snakemake.params, snakemake.input
    if snakemake.rule == "benchmark_attention":
        table = read_tables(inputs)
    else:
        name = snakemake.wildcards.regime
        seed = params.forecast["seed"]
        pipeline = pipeline_of(snakemake)
        if name in RAGGED:
            regime = ragged_regime(
                name, inputs.short, inputs.long, seed, num_short=240, num_long=12
            )
        else:
            regime = dense_regime(name, seed)
        table = run_benchmark(pipeline, regime, **params.timing, seed=seed)
    table.to_csv(snakemake.output[0], index=False)
    log.info("\n%s", table[SHOWN].to_string(index=False))
