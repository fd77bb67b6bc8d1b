"""Put the published tables of the prior studies through this study's tests and gates."""

import re

from study.evaluation.comparison import prior_soft, prior_study
from study.evaluation.statistics import Criteria
from study.jobs.files import read_results
from study.jobs.script import rule_script

with rule_script(snakemake) as log:
    params, output = snakemake.params, snakemake.output
    criteria = Criteria.of(params.statistics)
    full, mass, soft, published = (
        read_results(file.path)
        for (file,) in (params.full, params.mass, params.soft, params.published)
    )
    radii = {
        int(re.search(r"_r(\d+)\.csv$", file.path)[1]): read_results(file.path)
        for file in params.sparse
    }
    table = prior_study(full, radii, published, mass, params.clusters, criteria)
    table.to_csv(output.validity, index=False)
    for _, row in table.iterrows():
        told = (row["radius"], row["t"], row["p"], row["reason"] or "valid")
        log.info("r=%d: t %.5f, p %.6f, %s", *told)
    row = prior_soft(soft, published, params.clusters, criteria)
    row.to_csv(output.soft, index=False)
    log.info("soft masks: %s", row.iloc[0].to_dict())
