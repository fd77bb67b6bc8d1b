"""Score forecasts: MASE and WQL per task as fev reports them, and per item, window and step."""

from contextlib import ExitStack
from pathlib import Path

from study.files import atomic_path
from study.runtime import rule_script
from study.scores import score_files
from study.slices import task_slices
from study.suites import load_suite

with rule_script(snakemake) as log:
    params = snakemake.params
    suite = load_suite(params.suite, params.config_dir).only(params.only)
    paths = (
        [path] if isinstance(path, str) else path
        for path in (snakemake.input.forecasts, snakemake.output.scores, snakemake.output.accuracy)
    )
    tasks = (
        part
        for task in suite.tasks
        for part in task_slices(task, suite, Path(params.data_paths[task.dataset]))
    )
    with ExitStack() as stack:
        forecasts, scores, accuracy = paths
        scores, accuracy = (
            [stack.enter_context(atomic_path(path)) for path in group]
            for group in (scores, accuracy)
        )
        pairs = list(zip(forecasts, scores, strict=True))
        tables = score_files(tasks, pairs, total=len(suite.tasks))
        for forecast, table, path in zip(forecasts, tables, accuracy, strict=True):
            table.to_csv(path, index=False)
            summary = table[["task_name", "MASE", "WQL"]].to_string()
            log.info("scores of %d tasks in %s\n%s", len(table), forecast, summary)
