"""Score forecasts: MASE and WQL per task as fev reports them, and per item, window and step.

Of all series, or of a piece of them; or join what jobs found for the pieces.
"""

from contextlib import ExitStack
from pathlib import Path

from study.config.suites import load_suite
from study.evaluation.scores import gather_scores, score_files
from study.forecasts.slices import Piece, task_slices
from study.jobs.files import atomic_path
from study.jobs.script import rule_script

with rule_script(snakemake) as log:
    params, inputs, outputs = snakemake.params, snakemake.input, snakemake.output
    suite = load_suite(params.suite, params.config_dir).only(params.only)
    with ExitStack() as stack:
        forecasts, scores, accuracy = (
            [paths] if isinstance(paths, str) else paths
            for paths in (inputs.forecasts, outputs.scores, outputs.accuracy)
        )
        scores, accuracy = (
            [stack.enter_context(atomic_path(path)) for path in group]
            for group in (scores, accuracy)
        )
        if inputs.get("pieces"):
            names = [task.name for task in suite.tasks]
            # Of each file of forecasts all pieces, then of the next.
            count = len(inputs.pieces) // len(forecasts)
            tables = []
            for number, (forecast, path) in enumerate(zip(forecasts, scores, strict=True)):
                own = slice(number * count, (number + 1) * count)
                found = (inputs.pieces[own], inputs.tables[own])
                tables.append(gather_scores(*found, forecast, path, names))
        else:
            piece = Piece.parse(snakemake.wildcards.get("scatteritem", "1-of-1"))
            tasks = (
                part
                for task in suite.tasks
                for part in task_slices(
                    task, suite, Path(params.data_paths[task.dataset]), piece=piece
                )
            )
            tables = score_files(
                tasks,
                list(zip(forecasts, scores, strict=True)),
                total=len(suite.tasks),
                is_piece=piece.count > 1,
            )
        for forecast, table, path in zip(forecasts, tables, accuracy, strict=True):
            table.to_csv(path, index=False)
            summary = table.reindex(columns=["task_name", "MASE", "WQL"]).to_string()
            log.info("scores of %d tasks in %s\n%s", len(table), forecast, summary)
