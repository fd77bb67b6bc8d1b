"""Test a variant against the baseline over tasks: one row with the verdict and its validity."""

from chronos2_attention import AttentionVariant
from study.evaluation import gates
from study.evaluation.comparison import ttest_row
from study.evaluation.scores import run_of
from study.jobs.files import atomic_path, read_results
from study.jobs.script import rule_script

with rule_script(snakemake) as log:
    inputs, params = snakemake.input, snakemake.params
    variant = AttentionVariant.parse(f"sparse_r{params.radius}")
    full, sparse = read_results(inputs.accuracy_full), read_results(inputs.accuracy_variant)
    naive = read_results(inputs.accuracy_seasonal_naive)
    valid, reason = gates.read_summary(read_results(inputs.validity))
    mismatch = gates.same_weights(full, sparse)
    row = ttest_row(
        read_results(inputs.compare),
        setting={"radius": variant.radius},
        run=run_of(sparse),
        baseline_rel_mase=gates.baseline_gate(full, naive)[0].value,
        valid=valid and not mismatch,
        reason="; ".join(filter(None, [reason, mismatch])),
        margin=params.tost_margin,
        alpha=params.alpha,
    )
    with atomic_path(snakemake.output[0]) as path:
        row.to_csv(path, index=False)
    log.info("\n".join(f"{name}: {value}" for name, value in row.iloc[0].items()))
