"""Draw a figure of workflow/report/figures.yaml, with the validity of its study."""

from importlib import import_module
from pathlib import Path

from study.evaluation.gates import validity_of
from study.jobs.files import read_tables
from study.jobs.script import rule_script
from study.report.style import Caption, save

with rule_script(snakemake):
    params = snakemake.params
    inputs = {name: read_tables(paths) for name, paths in snakemake.input.items()}
    names = (params.study.suite.name, params.study.model.name)
    caption = Caption(*names, validity_of(inputs.pop("validity")))
    module, _, name = params.draw.partition(".")
    draw = getattr(import_module(f"study.report.{module}"), name)
    figure = draw(**inputs, **params.settings, caption=caption)
    save(figure, [Path(path) for path in snakemake.output])
