"""Plot the window on which the best soft mask has its median gain."""

from pathlib import Path

from chronos2_attention import InputError
from study.config.study import load_study
from study.jobs.files import read_results
from study.jobs.script import rule_script
from study.report import soft_figures
from study.report.soft_figures import context_of_item, median_gain
from study.report.style import caption_of, save
from study.soft_masks.pairs import pairs_of, read_baseline, read_batch_sizes, read_variant
from study.soft_masks.verdicts import best_of

with rule_script(snakemake) as log:
    inputs, params, name = snakemake.input, snakemake.params, snakemake.wildcards.study
    suite = load_study(name, Path(params.config_dir), params.only).suite
    best = best_of(read_results(inputs.summary))
    if best is None:
        raise InputError("no soft mask could be tested", inputs.summary, "give tasks more series")
    place = params.variants.index(best["variant"])
    baseline = read_baseline(inputs.scores_full, inputs.forecasts_full)
    variant = read_variant(baseline, inputs.scores[place], inputs.forecasts[place])
    pairs = pairs_of(baseline, suite.pairs, read_batch_sizes(inputs.similarity))
    task, row = median_gain(baseline, variant, pairs)
    key = baseline.keys[task].iloc[row]
    data_path = dict(zip(params.datasets, map(Path, inputs.data), strict=True))[
        suite.task(task).dataset
    ]
    index, item = int(key["window_index"]), key["item_id"]
    shown = {
        "context": context_of_item(suite, task, data_path, index, item),
        "truth": baseline.truth[task][row],
    }
    for label, method in (("full", baseline.forecasts[task]), ("soft", variant[task])):
        for part in ("point", "low", "high"):
            shown[f"{label}_{part}"] = getattr(method, part)[row]
    gain = 1 - variant[task].error[row] / baseline.forecasts[task].error[row]
    about = f"n = 1 window: {task}, series {item}, window {index}: the median gain, {gain:.1%}"
    log.info("%s", about)
    caption = caption_of(params.suite, params.model, read_results(inputs.validity))
    figure = soft_figures.example(shown, about, best["variant"], caption)
    save(figure, [Path(path) for path in snakemake.output])
