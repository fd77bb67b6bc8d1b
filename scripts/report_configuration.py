"""Make the report's page on what a study ran with."""

from pathlib import Path

from study.files import atomic_path
from study.forecast_files import read_metadata
from study.report_tables import configuration_page
from study.runtime import rule_script
from study.versions import versions

with rule_script(snakemake):
    inputs, params = snakemake.input, snakemake.params
    runs = [read_metadata(path) for path in inputs.forecasts]
    text = configuration_page(
        snakemake.wildcards.study,
        params.settings,
        {run["variant"]: run for run in runs},
        versions(Path(params.repo_root)),
        models=[Path(inputs.model)],
        data=[Path(path) for path in inputs.data],
    )
    with atomic_path(snakemake.output[0]) as path:
        path.write_text(text, encoding="utf-8")
