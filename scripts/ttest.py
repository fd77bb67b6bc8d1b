"""Compare a variant with the baseline task by task, and test it: one row with its validity."""

from chronos2_attention import AttentionVariant
from study.config.plans import with_plan
from study.evaluation import comparison, gates
from study.evaluation.clusters import forecast_errors
from study.evaluation.multiverse import multiverse
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
    compared = comparison.compare_tasks(
        comparison.with_timings(full, timed, "full"),
        comparison.with_timings(sparse, timed, variant.name),
        setting={"radius": variant.radius},
    )
    errors = [forecast_errors(*files) for files in (inputs.full, inputs.variant)]
    criteria = Criteria.of(statistics)
    compared, result, extra = comparison.sparse_test(
        compared, *errors, variant, snakemake.params.clusters, criteria
    )
    compared.to_csv(snakemake.output.compare, index=False)
    margins = [factor * criteria.margin for factor in (0.5, 1, 2)]
    asked = (variant, snakemake.params.clusters, margins, criteria.alpha)
    multiverse(*errors, *asked).to_csv(snakemake.output.multiverse, index=False)
    validity = gates.validity_of(read_results(inputs.validity))
    row = comparison.ttest_row(
        compared,
        result,
        validity.unless(gates.same_weights(full, sparse)),
        setting={"radius": variant.radius},
        run=run_of(sparse),
    ).assign(**extra, **comparison.win_rate(full, sparse))
    row = with_plan(row, snakemake.params.plans)
    row.to_csv(snakemake.output.ttest, index=False)
    log.info("\n".join(f"{name}: {value}" for name, value in row.iloc[0].items()))
