"""Put the published tables of the prior sparse study through this study's tests and gates."""

import re
from pathlib import Path

from study.evaluation.prior import prior_study
from study.jobs.files import atomic_path, read_results
from study.jobs.script import rule_script

with rule_script(snakemake) as log:
    params = snakemake.params
    reference = Path(params.reference)
    radii = {
        int(re.search(r"_r(\d+)$", path.stem)[1]): read_results(path)
        for path in reference.glob("prior_cbii_perf_sparse_r*.csv")
    }
    table = prior_study(
        read_results(reference / "prior_cbii_perf_full.csv"),
        radii,
        read_results(snakemake.input.published),
        read_results(reference / "prior_cbii_mass_per_window.csv"),
        margin=params.tost_margin,
        alpha=params.alpha,
    )
    with atomic_path(snakemake.output[0]) as path:
        table.to_csv(path, index=False)
    for _, row in table.iterrows():
        log.info(
            "r=%d: t %.5f, p %.6f, %s", row["radius"], row["t"], row["p"], row["reason"] or "valid"
        )
