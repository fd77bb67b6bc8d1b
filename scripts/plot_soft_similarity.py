"""Plot the similarities of a study's largest batch under each measure."""

from pathlib import Path

from study.jobs.files import read_results
from study.jobs.script import rule_script
from study.report import soft_figures
from study.report.soft_figures import clustered
from study.report.style import caption_of, save

with rule_script(snakemake):
    inputs, params = snakemake.input, snakemake.params
    files = dict(zip(params.measures, inputs.similarity, strict=True))
    matrices, names, task, window = clustered(files)
    about = f"n = {len(names)} series of {task}, window {window}, clustered by {params.measures[0]}"
    caption = caption_of(params.suite, params.model, read_results(inputs.validity))
    figure = soft_figures.similarities(matrices, names, about, caption)
    save(figure, [Path(path) for path in snakemake.output])
