"""Put the published table of the prior soft-mask study through this study's tests and gates."""

from study.evaluation.prior import prior_soft
from study.jobs.files import atomic_path, read_results
from study.jobs.script import rule_script

with rule_script(snakemake) as log:
    inputs, params = snakemake.input, snakemake.params
    row = prior_soft(
        read_results(inputs.prior),
        read_results(inputs.published),
        margin=params.tost_margin,
        alpha=params.alpha,
    )
    with atomic_path(snakemake.output[0]) as path:
        row.to_csv(path, index=False)
    log.info("\n".join(f"{column}: {value}" for column, value in row.iloc[0].items()))
