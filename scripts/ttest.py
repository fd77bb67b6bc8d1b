"""Test a variant against the baseline over tasks: one row with the verdict and its validity."""

import pandas as pd

from chronos2_attention import AttentionVariant
from study.evaluation import gates
from study.evaluation.comparison import ttest_row
from study.evaluation.scores import run_of
from study.evaluation.statistics import Criteria
from study.jobs.files import atomic_path
from study.jobs.script import rule_script

with rule_script(snakemake) as log:
    inputs, params = snakemake.input, snakemake.params
    variant = AttentionVariant.parse(f"sparse_r{params.radius}")
    full, sparse = pd.read_csv(inputs.accuracy_full), pd.read_csv(inputs.accuracy_variant)
    validity = gates.validity_of(pd.read_csv(inputs.validity))
    row = ttest_row(
        pd.read_csv(inputs.compare),
        validity.unless(gates.same_weights(full, sparse)),
        setting={"radius": variant.radius},
        run=run_of(sparse),
        criteria=Criteria(params.alpha, params.tost_margin),
    )
    with atomic_path(snakemake.output[0]) as path:
        row.to_csv(path, index=False)
    log.info("\n".join(f"{name}: {value}" for name, value in row.iloc[0].items()))
