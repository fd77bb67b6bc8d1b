"""Put the published table of the prior soft-mask study through this study's tests and gates."""

import pandas as pd

from study.evaluation.prior import prior_soft
from study.evaluation.statistics import Criteria
from study.jobs.files import atomic_path
from study.jobs.script import rule_script

with rule_script(snakemake) as log:
    inputs, params = snakemake.input, snakemake.params
    row = prior_soft(
        pd.read_csv(inputs.prior),
        pd.read_csv(inputs.published),
        Criteria(params.alpha, params.tost_margin),
    )
    with atomic_path(snakemake.output[0]) as path:
        row.to_csv(path, index=False)
    log.info("\n".join(f"{column}: {value}" for column, value in row.iloc[0].items()))
