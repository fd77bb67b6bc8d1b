"""Make the report's page on what a study ran with."""

from pathlib import Path

from study.forecasts.files import read_metadata
from study.jobs.files import atomic_path
from study.jobs.script import rule_script
from study.report.pages import configuration_page
from study.report.versions import versions

with rule_script(snakemake):
    inputs, params = snakemake.input, snakemake.params
    runs = [read_metadata(path) for path in inputs.forecasts]
    text = configuration_page(
        snakemake.wildcards.study,
        params.settings,
        {run["variant"]: run for run in runs},
        versions(Path(snakemake.scriptdir).parent),
        models=[Path(inputs.model)],
        data=[Path(path) for path in inputs.data],
    )
    with atomic_path(snakemake.output[0]) as path:
        path.write_text(text, encoding="utf-8")
