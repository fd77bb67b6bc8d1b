"""Plot each task's change in MASE per radius, with intervals over its forecasts."""

from pathlib import Path

from study.evaluation.statistics import forecast_errors, task_log_ratios
from study.jobs.files import read_results
from study.jobs.script import rule_script
from study.report.sparse_figures import delta_mase
from study.report.style import caption_of, save

with rule_script(snakemake):
    inputs, params = snakemake.input, snakemake.params
    caption = caption_of(params.suite, params.model, read_results(inputs.validity))
    full = forecast_errors(inputs.full)
    by_radius = {
        radius: task_log_ratios(full, forecast_errors(path), alpha=params.alpha)
        for radius, path in zip(params.radii, inputs.variants, strict=True)
    }
    figure = delta_mase(by_radius, read_results(inputs.summary), caption)
    save(figure, [Path(path) for path in snakemake.output])
