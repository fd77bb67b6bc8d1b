"""Plot speedup over full attention against the length of a task's sequences."""

from pathlib import Path

import pandas as pd

from study.jobs.files import read_results
from study.jobs.script import rule_script
from study.report.sparse_figures import speedup
from study.report.style import caption_of, save

with rule_script(snakemake):
    inputs, params = snakemake.input, snakemake.params
    caption = caption_of(params.suite, params.model, read_results(inputs.validity))
    tokens = read_results(inputs.mass).groupby("task_name")["S_tokens"].max()
    compared = pd.concat(map(read_results, inputs.compared), ignore_index=True)
    figure = speedup(compared, tokens, caption)
    save(figure, [Path(path) for path in snakemake.output])
