"""Plot the gain of the best soft masks by sample size."""

from pathlib import Path

import pandas as pd

from study import soft_figures
from study.figures import caption_of, save
from study.runtime import rule_script

with rule_script(snakemake):
    inputs, params = snakemake.input, snakemake.params
    caption = caption_of(params.suite, params.model, pd.read_csv(inputs.validity))
    figure = soft_figures.by_sample_size(
        pd.read_csv(inputs.table), pd.read_csv(inputs.summary), caption
    )
    save(figure, [Path(path) for path in snakemake.output])
