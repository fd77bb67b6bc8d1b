"""Compare a variant with the baseline task by task, and test it: one row with its validity."""

from chronos2_attention import AttentionVariant
from study.evaluation import gates
from study.evaluation.clusters import forecast_errors
from study.evaluation.comparison import (
    compare_tasks,
    sparse_test,
    ttest_row,
    win_rate,
    with_timings,
)
from study.evaluation.scores import run_of
from study.evaluation.statistics import Criteria
from study.jobs.files import read_results
from study.jobs.script import rule_script

with rule_script(snakemake) as log:
    inputs, statistics = snakemake.input, snakemake.params.statistics
    variant = AttentionVariant.parse(f"sparse_r{snakemake.wildcards.r}")
    full, sparse = read_results(inputs.accuracy_full), read_results(inputs.accuracy_variant)
    # One run timed both: only then is their ratio a speedup.
    timed = read_results(inputs.efficiency)
    compared = compare_tasks(
        with_timings(full, timed, "full"),
        with_timings(sparse, timed, variant.name),
        setting={"radius": variant.radius},
    )
    errors = (forecast_errors(*files) for files in (inputs.full, inputs.variant))
    criteria = Criteria.of(statistics)
    compared, result, extra = sparse_test(
        compared, *errors, variant.radius, snakemake.params.clusters, criteria
    )
    compared.to_csv(snakemake.output.compare, index=False)
    validity = gates.validity_of(read_results(inputs.validity))
    row = ttest_row(
        compared,
        result,
        validity.unless(gates.same_weights(full, sparse)),
        setting={"radius": variant.radius},
        run=run_of(sparse),
    ).assign(**extra, **win_rate(full, sparse))
    row.to_csv(snakemake.output.ttest, index=False)
    log.info("\n".join(f"{name}: {value}" for name, value in row.iloc[0].items()))
