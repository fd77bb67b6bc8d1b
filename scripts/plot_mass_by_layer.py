"""Plot the lift of each layer and head at a small radius."""

from pathlib import Path

import pandas as pd

from study.jobs.files import read_results
from study.jobs.script import rule_script
from study.report.sparse_figures import mass_by_layer_and_head
from study.report.style import caption_of, save

with rule_script(snakemake):
    inputs, params = snakemake.input, snakemake.params
    caption = caption_of(params.suite, params.model, read_results(inputs.validity))
    figure = mass_by_layer_and_head(pd.read_parquet(inputs.heads), caption, params.radius)
    save(figure, [Path(path) for path in snakemake.output])
