"""Forecast a suite's tasks by Seasonal Naive, the yardstick of the gates."""

from importlib.metadata import version

from study.forecasts.files import ForecastWriter
from study.forecasts.seasonal_naive import forecast_task
from study.forecasts.slices import task_slices
from study.jobs.progress import progress
from study.jobs.script import rule_script

with rule_script(snakemake) as log:
    study, suite = snakemake.params.study, snakemake.params.study.suite
    data = study.data_paths(snakemake.input.data)
    metadata = {
        "study": study.name,
        "variant": "seasonal_naive",
        "model": "seasonal_naive",
        "weights_fingerprint": "none",
        "weights_source": "none",
        "weights_strict": True,
        "device": "cpu",
        "dtype": "float64",
        "backend": "numpy",
        "seed": "none",
        **{name: version(name) for name in ("numpy", "fev")},
    }
    with ForecastWriter(snakemake.output[0], suite.quantile_levels, metadata) as writer:
        for task in progress(suite.tasks, desc="Seasonal Naive", unit="task"):
            for part in task_slices(task, suite, data[task.dataset]):
                forecast_task(part, writer)
    told = {name: metadata[name] for name in ("variant", "device", "dtype", "backend")}
    log.info("ran %s: %d tasks", told, len(suite.tasks))
