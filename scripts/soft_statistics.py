"""Test soft masks: one of them, or a whole sweep, and where its gain comes from."""

from pathlib import Path

from study.evaluation.gates import validity_of, with_mechanism
from study.evaluation.statistics import Criteria
from study.forecasts.slices import features_of
from study.jobs.files import read_results
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
    mix = pairs.counted
    told = (len(variants), len(baseline.keys), mix.sum(), pairs.unit, (~mix).sum())
    log.info("%d variants, %d tasks; pairs that mix: %d (unit: %s), that do not: %d", *told)
    files = zip(inputs.scores, inputs.forecasts, inputs.group_mass, strict=True)
    gates = with_mechanism(*map(read_results, [inputs.validity, inputs.leaders, *inputs.mechanism]))
    tested = {
        "batch_sizes": batch_sizes,
        "evaluated": evaluate_files(baseline, pairs, dict(zip(variants, files, strict=True))),
        "controls": params.controls,
        "validity": validity_of(gates, params.invented),
        "criteria": Criteria.of(params.statistics),
    }
    if snakemake.rule == "soft_ttest":
        row = rows_of(baseline, pairs, **tested)[variants[0]].row
        row.to_csv(output[0], index=False)
        log.info("\n".join(f"{column}: {value}" for column, value in row.iloc[0].items()))
    else:
        feature_of = features_of(suite, params.study.data_paths(inputs.data))
        tested |= {"feature_of": feature_of, **params.samples}
        tables = sweep_tables(name, baseline, pairs, **tested)
        for table, frame in tables.items():
            frame.to_csv(output[table], index=False)
        gates.to_csv(output.gates, index=False)
        page = as_markdown(tables["verdicts"], f"Soft group masks: {name}")
        Path(output.page).write_text(page, encoding="utf-8")
        log.info("%s", page)
