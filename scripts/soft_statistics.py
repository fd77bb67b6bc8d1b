"""Test soft masks: one of them, or a whole sweep, and where its gain comes from."""

from pathlib import Path

from study.config.plans import with_plan
from study.evaluation.gates import validity_of, with_mechanism
from study.evaluation.statistics import Criteria
from study.forecasts.slices import features_of
from study.jobs.files import read_results, read_tables
from study.jobs.script import rule_script
from study.soft_masks.pairs import read_baseline, read_batch_sizes, soft_pairs
from study.soft_masks.summary import evaluate_files, rows_of
from study.soft_masks.verdicts import as_markdown, sweep_tables

with rule_script(snakemake) as log:
    inputs, params, output = snakemake.input, snakemake.params, snakemake.output
    name, suite, variants = params.study.name, params.study.suite, params.variants
    baseline = read_baseline(inputs.scores_full, inputs.forecasts_full)
    sizes = read_batch_sizes(inputs.similarity)
    pairs, batch_sizes = soft_pairs(baseline, suite.pairs, sizes, params.clusters)
    told = (len(variants), pairs.counted.sum(), len(pairs.counted), pairs.unit)
    log.info("%d variants; of the pairs %d of %d mix (unit: %s)", *told)
    files = zip(inputs.scores, inputs.forecasts, inputs.group_mass, strict=True)
    gates = with_mechanism(*map(read_results, [inputs.validity, inputs.leaders, *inputs.mechanism]))
    tested = {
        "batch_sizes": batch_sizes,
        "evaluated": evaluate_files(baseline, pairs, dict(zip(variants, files, strict=True))),
        "controls": params.controls,
        "validity": validity_of(gates, params.invented),
        "criteria": Criteria.of(params.statistics),
        "shuffles": read_tables(inputs.shuffles) if inputs.shuffles else None,
    }
    if snakemake.rule == "soft_ttest":
        row = with_plan(rows_of(baseline, pairs, **tested)[variants[0]].row, params.plans)
        row.to_csv(output[0], index=False)
        log.info("\n".join(f"{column}: {value}" for column, value in row.iloc[0].items()))
    else:
        tested["feature_of"] = features_of(suite, params.study.data_paths(inputs.data))
        tables = sweep_tables(name, baseline, pairs, **tested, **params.samples)
        tables["summary"] = with_plan(tables["summary"], params.plans)
        for table, frame in tables.items():
            frame.to_csv(output[table], index=False)
        gates.to_csv(output.gates, index=False)
        page = as_markdown(tables["verdicts"], f"Soft group masks: {name}")
        Path(output.page).write_text(page, encoding="utf-8")
