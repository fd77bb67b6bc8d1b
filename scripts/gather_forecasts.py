"""Join the pieces of a forecast into the file of its study and variant, for each variant."""

from pathlib import Path

from study.files import atomic_path
from study.gathering import gather_pieces
from study.runtime import rule_script
from study.studies import load_study

with rule_script(snakemake):
    params = snakemake.params
    study = load_study(snakemake.wildcards.study, Path(params.config_dir), params.only)
    pieces = [Path(piece) for piece in snakemake.input]
    count = len(pieces) // len(snakemake.output)
    for number, output in enumerate(snakemake.output):
        own = pieces[number * count : (number + 1) * count]
        with atomic_path(output) as path:
            gather_pieces(own, path, [task.name for task in study.suite.tasks])
