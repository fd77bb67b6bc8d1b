"""Join the pieces of a forecast into the file of its study and variant, for each variant."""

from pathlib import Path

from study.forecasts.files import gather_pieces
from study.jobs.script import rule_script

with rule_script(snakemake):
    tasks = [task.name for task in snakemake.params.study.suite.tasks]
    pieces = [Path(piece) for piece in snakemake.input]
    count = len(pieces) // len(snakemake.output)
    for number, output in enumerate(snakemake.output):
        own = pieces[number * count : (number + 1) * count]
        gather_pieces(own, Path(output), tasks)
