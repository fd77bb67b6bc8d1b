"""Plot the baseline's skill over Seasonal Naive per task."""

from pathlib import Path

import pandas as pd

from study.evaluation.gates import relative_mase
from study.jobs.script import rule_script
from study.report.sparse_figures import skill
from study.report.style import caption_of, save

with rule_script(snakemake):
    inputs, params = snakemake.input, snakemake.params
    caption = caption_of(params.suite, params.model, pd.read_csv(inputs.validity))
    relative = relative_mase(pd.read_csv(inputs.full), pd.read_csv(inputs.seasonal_naive))
    save(skill(relative, caption, params.limit), [Path(path) for path in snakemake.output])
