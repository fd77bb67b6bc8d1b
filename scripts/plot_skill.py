"""Plot the baseline's skill over Seasonal Naive per task."""

from pathlib import Path

from study.evaluation.gates import relative_mase
from study.jobs.files import read_results
from study.jobs.script import rule_script
from study.report.sparse_figures import skill
from study.report.style import caption_of, save

with rule_script(snakemake):
    inputs, params = snakemake.input, snakemake.params
    caption = caption_of(params.suite, params.model, read_results(inputs.validity))
    relative = relative_mase(read_results(inputs.full), read_results(inputs.seasonal_naive))
    save(skill(relative, caption, params.limit), [Path(path) for path in snakemake.output])
