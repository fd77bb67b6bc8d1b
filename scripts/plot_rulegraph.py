"""Draw the rules of this workflow and which hands its files to which."""

from pathlib import Path

from study.jobs.script import rule_script
from study.report.rulegraph import draw, planned_rules
from study.report.style import save

with rule_script(snakemake):
    graph = planned_rules(
        Path(snakemake.scriptdir).parent / "workflow" / "Snakefile", snakemake.params.targets
    )
    save(draw(graph), [Path(snakemake.output[0])])
