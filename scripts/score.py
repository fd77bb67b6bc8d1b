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
    files = zip(
        *(
            [path] if isinstance(path, str) else path
            for path in (
                snakemake.input.forecasts,
                snakemake.output.scores,
                snakemake.output.accuracy,
            )
        ),
        strict=True,
    )
    for forecasts, scores_path, accuracy_path in files:
        tasks = (
            part
            for task in suite.tasks
            for part in task_slices(task, suite, Path(params.data_paths[task.dataset]))
        )
        with atomic_path(scores_path) as scores, atomic_path(accuracy_path) as accuracy:
            table = score_suite(tasks, forecasts, scores, total=len(suite.tasks))
            table.to_csv(accuracy, index=False)
        summary = table[["task_name", "MASE", "WQL"]].to_string()
        log.info("scores of %d tasks in %s\n%s", len(table), forecasts, summary)
