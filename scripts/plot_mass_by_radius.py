"""Plot how much attention lies within each radius, against uniform attention."""

from pathlib import Path

from study.jobs.files import read_results
from study.jobs.script import rule_script
from study.report.sparse_figures import mass_by_radius
from study.report.style import caption_of, save

with rule_script(snakemake):
    inputs, params = snakemake.input, snakemake.params
    caption = caption_of(params.suite, params.model, read_results(inputs.validity))
    figure = mass_by_radius(read_results(inputs.mass), caption)
    save(figure, [Path(path) for path in snakemake.output])
