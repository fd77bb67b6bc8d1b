"""Draw the rules of this workflow and which hands its files to which."""

from pathlib import Path

from study.figures import save
from study.rulegraph import draw, planned_rules
from study.runtime import rule_script

with rule_script(snakemake):
    graph = planned_rules(Path(snakemake.params.snakefile), snakemake.params.targets)
    save(draw(graph), [Path(snakemake.output[0])])
