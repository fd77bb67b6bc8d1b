"""Join the pieces of a forecast into the file of its study and variant, for each variant."""

from pathlib import Path

from study.config.study import load_study
from study.forecasts.files import gather_pieces
from study.jobs.files import atomic_path
from study.jobs.script import rule_script

with rule_script(snakemake):
    params = snakemake.params
    study = load_study(snakemake.wildcards.study, Path(params.config_dir), params.only)
    pieces = [Path(piece) for piece in snakemake.input]
    count = len(pieces) // len(snakemake.output)
    for number, output in enumerate(snakemake.output):
        own = pieces[number * count : (number + 1) * count]
        with atomic_path(output) as path:
            gather_pieces(own, path, [task.name for task in study.suite.tasks])
