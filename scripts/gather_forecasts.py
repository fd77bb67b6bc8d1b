"""Join the pieces of a forecast into the file of its study and variant."""

from pathlib import Path

from study.files import atomic_path
from study.gathering import gather_forecasts
from study.runtime import rule_script
from study.studies import load_study

with rule_script(snakemake):
    params = snakemake.params
    study = load_study(snakemake.wildcards.study, Path(params.config_dir), params.only)
    with atomic_path(snakemake.output[0]) as path:
        gather_forecasts(
            [Path(piece) for piece in snakemake.input], path, [t.name for t in study.suite.tasks]
        )
