"""Forecast a suite's tasks by Seasonal Naive, the yardstick of the gates."""

from importlib.metadata import version
from pathlib import Path

from study.config.suites import load_suite
from study.forecasts.files import ForecastWriter
from study.forecasts.seasonal_naive import forecast_task
from study.forecasts.slices import task_slices
from study.jobs.files import atomic_path
from study.jobs.progress import progress
from study.jobs.script import rule_script

with rule_script(snakemake) as log:
    params = snakemake.params
    suite = load_suite(params.suite, params.config_dir).only(params.only)
    metadata = {
        "study": snakemake.wildcards.study,
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
    with (
        atomic_path(snakemake.output.forecasts) as path,
        ForecastWriter(path, suite.quantile_levels, metadata) as writer,
    ):
        for task in progress(suite.tasks, desc="Seasonal Naive", unit="task"):
            for part in task_slices(task, suite, Path(params.data_paths[task.dataset])):
                forecast_task(part, writer)
        told = {name: metadata[name] for name in ("variant", "device", "dtype", "backend")}
        log.info("ran %s: %d tasks", told, len(suite.tasks))
