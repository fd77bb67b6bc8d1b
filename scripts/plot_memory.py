"""Plot the peak memory of full and sparse attention per task."""

from pathlib import Path

import pandas as pd

from study.jobs.files import read_results
from study.jobs.script import rule_script
from study.report.sparse_figures import memory
from study.report.style import caption_of, save

with rule_script(snakemake):
    inputs, params = snakemake.input, snakemake.params
    caption = caption_of(params.suite, params.model, read_results(inputs.validity))
    perf = pd.concat(map(read_results, inputs.perf), ignore_index=True)
    save(memory(perf, caption), [Path(path) for path in snakemake.output])
