"""Draw a rule's figures of workflow/report/figures.yaml, with the validity of their study."""

from importlib import import_module
from pathlib import Path

from study.evaluation.gates import validity_of
from study.jobs.files import read_tables
from study.jobs.script import rule_script
from study.report.style import Caption, save

with rule_script(snakemake):
    inputs, params, output = snakemake.input, snakemake.params, snakemake.output
    study = params.study
    caption = Caption(study.suite.name, study.model.name, validity_of(read_tables(inputs.validity)))
    for name, entry in params.figures.items():
        tables = {key: read_tables(inputs[f"{name}_{key}"]) for key in entry["inputs"]}
        module, _, function = entry["draw"].partition(".")
        draw = getattr(import_module(f"study.report.{module}"), function)
        settings = {key: params.settings[key] for key in entry.get("settings", [])}
        figure = draw(**tables, **settings, caption=caption)
        save(figure, [Path(output[f"{name}_{suffix}"]) for suffix in ("svg", "png")])
