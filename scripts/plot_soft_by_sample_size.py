"""Plot the gain of the best soft masks by sample size."""

from pathlib import Path

from study.jobs.files import read_results
from study.jobs.script import rule_script
from study.report import soft_figures
from study.report.style import caption_of, save

with rule_script(snakemake):
    inputs, params = snakemake.input, snakemake.params
    caption = caption_of(params.suite, params.model, read_results(inputs.validity))
    figure = soft_figures.by_sample_size(
        read_results(inputs.table), read_results(inputs.summary), caption
    )
    save(figure, [Path(path) for path in snakemake.output])
