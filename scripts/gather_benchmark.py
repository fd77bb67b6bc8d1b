"""Put the regimes of the attention benchmark into one table."""

import pandas as pd

from study.jobs.files import read_results
from study.jobs.script import rule_script

with rule_script(snakemake) as log:
    table = pd.concat(map(read_results, snakemake.input), ignore_index=True)
    table.to_csv(snakemake.output[0], index=False)
    log.info("%d rows of %d regimes", len(table), len(snakemake.input))
