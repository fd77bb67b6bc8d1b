"""Plot how much attention lies within each radius, against uniform attention."""

from pathlib import Path

import pandas as pd

from study.figures import caption_of, mass_by_radius, save
from study.runtime import rule_script

with rule_script(snakemake):
    inputs, params = snakemake.input, snakemake.params
    caption = caption_of(params.suite, params.model, pd.read_csv(inputs.validity))
    figure = mass_by_radius(pd.read_csv(inputs.mass), caption)
    save(figure, [Path(path) for path in snakemake.output])
