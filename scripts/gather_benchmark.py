"""Put the regimes of the attention benchmark into one table."""

from study.jobs.files import read_tables
from study.jobs.script import rule_script

with rule_script(snakemake) as log:
    table = read_tables(snakemake.input)
    table.to_csv(snakemake.output[0], index=False)
    log.info("%d rows of %d regimes", len(table), len(snakemake.input))
