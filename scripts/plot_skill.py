"""Plot the baseline's skill over Seasonal Naive per task."""

from pathlib import Path

import pandas as pd

from study.figures import caption_of, save, skill
from study.gates import relative_mase
from study.runtime import rule_script

with rule_script(snakemake):
    inputs, params = snakemake.input, snakemake.params
    caption = caption_of(params.suite, params.model, pd.read_csv(inputs.validity))
    relative = relative_mase(pd.read_csv(inputs.full), pd.read_csv(inputs.seasonal_naive))
    save(skill(relative, caption, params.limit), [Path(path) for path in snakemake.output])
