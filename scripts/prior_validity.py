"""Put the published tables of the prior sparse study through this study's tests and gates."""

import re
from pathlib import Path

import pandas as pd

from study.evaluation.prior import prior_study
from study.evaluation.statistics import Criteria
from study.jobs.files import atomic_path
from study.jobs.script import rule_script

with rule_script(snakemake) as log:
    params = snakemake.params
    reference = Path(params.reference)
    radii = {
        int(re.search(r"_r(\d+)$", path.stem)[1]): pd.read_csv(path)
        for path in reference.glob("prior_cbii_perf_sparse_r*.csv")
    }
    table = prior_study(
        pd.read_csv(reference / "prior_cbii_perf_full.csv"),
        radii,
        pd.read_csv(snakemake.input.published),
        pd.read_csv(reference / "prior_cbii_mass_per_window.csv"),
        Criteria(params.alpha, params.tost_margin),
    )
    with atomic_path(snakemake.output[0]) as path:
        table.to_csv(path, index=False)
    for _, row in table.iterrows():
        log.info(
            "r=%d: t %.5f, p %.6f, %s", row["radius"], row["t"], row["p"], row["reason"] or "valid"
        )
