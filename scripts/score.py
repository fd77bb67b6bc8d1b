"""Score forecasts: MASE and WQL per task as fev reports them, and per item, window and step."""

from pathlib import Path

from study.files import atomic_path
from study.runtime import rule_script
from study.scores import score_suite
from study.slices import task_slices
from study.suites import load_suite

with rule_script(snakemake) as log:
    params = snakemake.params
    suite = load_suite(params.suite, params.config_dir).only(params.only)
    tasks = (
        part
        for task in suite.tasks
        for part in task_slices(task, suite, Path(params.data_paths[task.dataset]))
    )
    with (
        atomic_path(snakemake.output.scores) as scores,
        atomic_path(snakemake.output.accuracy) as accuracy,
    ):
        table = score_suite(tasks, snakemake.input.forecasts, scores, total=len(suite.tasks))
        table.to_csv(accuracy, index=False)
    log.info("scores of %d tasks\n%s", len(table), table[["task_name", "MASE", "WQL"]].to_string())
