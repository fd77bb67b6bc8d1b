"""Write a rule's pages of workflow/report/pages.yaml, under the banner of their study."""

from pathlib import Path

from study.jobs.files import read_tables
from study.jobs.script import rule_script
from study.report import pages

with rule_script(snakemake) as log:
    inputs, params = snakemake.input, snakemake.params
    validity = read_tables(inputs.gates)
    for name, (write, title) in params.pages.items():
        source = inputs[name] if isinstance(inputs[name], str) else ", ".join(inputs[name])
        about = {"name": name, "source": source, "validity": validity}
        if params.settings:
            about = {"settings": params.settings}
        shown = read_tables(inputs[name])
        text = getattr(pages, write)(snakemake.wildcards.study, title, shown, **about)
        Path(snakemake.output[name]).write_text(text, encoding="utf-8")
    log.info("%d pages", len(params.pages))
