"""Fetch a model into its folder, load it strictly, and write down where it came from."""

import json
from pathlib import Path

from study.data import download
from study.data.checkpoints import fetch_model
from study.jobs.script import rule_script

with rule_script(snakemake):
    download.LIMITS = download.Limits(**snakemake.config["network"])
    (spec,) = snakemake.params.spec
    mirror = snakemake.config["mirror"]
    provenance = fetch_model(
        spec,
        Path(snakemake.output.weights).parent,
        repo_root=Path(snakemake.scriptdir).parent,
        mirror=Path(mirror) if mirror else None,
    )
    sidecar = json.dumps(provenance, indent=2) + "\n"
    Path(snakemake.output.sidecar).write_text(sidecar, encoding="utf-8")
