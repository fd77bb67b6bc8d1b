"""Check a study by every gate, those of published figures first, and say whether it counts."""

import pandas as pd

from study.evaluation import gates
from study.forecasts.files import read_metadata
from study.forecasts.windows import staggered_tasks
from study.jobs.files import read_results
from study.jobs.script import rule_script

with rule_script(snakemake) as log:
    inputs, params = snakemake.input, snakemake.params
    full = read_results(inputs.accuracy_full)
    naive = read_results(inputs.accuracy_seasonal_naive)
    study = params.study
    published = next((read_results(table.path) for table in params.published), None)
    joint, run, staggered = None, {}, []
    if inputs.get("joint"):
        joint, run = read_results(inputs.joint[0]), read_metadata(inputs.joint[1])
        staggered = staggered_tasks(study.suite, study.data_paths(inputs.data))
    tolerance = {"tolerance": params.data_tolerance}
    rows = [
        *gates.reproduction_gate(joint, published, study.model.name, run, staggered, **tolerance),
        *gates.data_gate(naive, published, **tolerance),
        *gates.weights_gate({inputs.forecasts_full: read_metadata(inputs.forecasts_full)}),
        *gates.baseline_gate(full, naive, params.baseline_rel_mase_max),
        # The probe leaves padding out, so that no window need be taken as padded.
        *gates.attention_gate(pd.read_parquet(inputs.mass).assign(padded=False)),
    ]
    gates.validity_table(rows).to_csv(snakemake.output[0], index=False)
    log.info("gates of %s: %s", snakemake.wildcards.study, gates.summary_line(rows))
    valid, reason, *_ = gates.summary(rows)
    if valid:
        log.info("the study is valid")
    else:
        log.warning("the study is NOT VALID: %s", reason)
