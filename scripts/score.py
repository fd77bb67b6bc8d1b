"""Score forecasts of all series or a piece, per task and step; or join what pieces gave."""

from study.evaluation.scores import gather_scores, score_files
from study.forecasts.slices import Piece, task_slices
from study.forecasts.windows import METRICS
from study.jobs.script import rule_script

with rule_script(snakemake) as log:
    inputs, outputs, study = snakemake.input, snakemake.output, snakemake.params.study
    suite, names = study.suite, [task.name for task in study.suite.tasks]
    pairs = list(zip(inputs.forecasts, outputs.scores, strict=True))
    if inputs.get("scores_pieces"):
        # Of each file of forecasts all pieces, then of the next.
        count = len(inputs.scores_pieces) // len(pairs)
        tables = []
        for number, pair in enumerate(pairs):
            own = slice(number * count, (number + 1) * count)
            found = (inputs.scores_pieces[own], inputs.accuracy_pieces[own])
            tables.append(gather_scores(*found, *pair, names))
    else:
        data = study.data_paths(inputs.data)
        piece = Piece.parse(snakemake.wildcards.get("scatteritem", "1-of-1"))
        tasks = (
            part
            for task in suite.tasks
            for part in task_slices(task, suite, data[task.dataset], piece=piece)
        )
        tables = score_files(tasks, *pairs, total=len(names), is_piece=piece.count > 1)
    for (forecast, _), table, path in zip(pairs, tables, outputs.accuracy, strict=True):
        table.to_csv(path, index=False)
        summary = table.reindex(columns=["task_name", *METRICS]).to_string()
        log.info("scores of %d tasks in %s\n%s", len(table), forecast, summary)
