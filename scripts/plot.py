"""Draw a figure of workflow/report/figures.yaml, with the validity of its study."""

from importlib import import_module
from pathlib import Path

from study.jobs.files import read_tables
from study.jobs.script import rule_script
from study.report.style import caption_of, save

with rule_script(snakemake):
    params = snakemake.params
    inputs = {name: read_tables(paths) for name, paths in snakemake.input.items()}
    study = params.study
    caption = caption_of(study.suite.name, study.model.name, inputs.pop("validity"))
    module, _, name = params.draw.partition(".")
    draw = getattr(import_module(f"study.report.{module}"), name)
    figure = draw(**inputs, **params.settings, caption=caption)
    save(figure, [Path(path) for path in snakemake.output])
