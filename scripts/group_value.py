"""Test what group attention is worth, by kind of task and within each task."""

from study.config.plans import with_plan
from study.evaluation.clusters import forecast_errors
from study.evaluation.gates import validity_of, with_mechanism
from study.evaluation.statistics import Criteria
from study.forecasts.files import read_metadata
from study.jobs.files import read_results
from study.jobs.script import rule_script
from study.soft_masks.group_value import group_value, sentences

with rule_script(snakemake) as log:
    inputs, params = snakemake.input, snakemake.params
    gates = with_mechanism(*map(read_results, [inputs.validity, inputs.leaders, *inputs.mechanism]))
    gates.to_csv(snakemake.output.gates, index=False)
    prints = {read_metadata(path).get("weights_fingerprint", "") for path in inputs.scores}
    table = group_value(
        dict(zip(params.scored, map(forecast_errors, inputs.scores), strict=True)),
        params.study.suite.tasks,
        params.clusters,
        params.variants,
        params.controls,
        validity_of(gates).unless(
            "" if len(prints) == 1 else "gate weights failed (of several weights)"
        ),
        Criteria.of(params.statistics),
        params.study.suite.pairs,
    )
    table = with_plan(table, params.plans)
    table.insert(0, "study", params.study.name)
    table.to_csv(snakemake.output.table, index=False)
    log.info("%s", "\n".join(sentences(table)))
