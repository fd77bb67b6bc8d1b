"""Fetch a model into its folder, load it strictly, and write down where it came from."""

import json
from pathlib import Path

from study.config.models import load_model_spec
from study.data import download
from study.data.checkpoints import fetch_model
from study.jobs.files import atomic_path
from study.jobs.script import rule_script

with rule_script(snakemake):
    download.LIMITS = download.Limits(**snakemake.config["network"])
    params, mirror = snakemake.params, snakemake.config["mirror"]
    spec = load_model_spec(snakemake.wildcards.model, params.config_dir)
    folder = Path(snakemake.output.weights).parent
    with atomic_path(folder) as temporary, atomic_path(snakemake.output.sidecar) as sidecar:
        provenance = fetch_model(
            spec,
            temporary,
            repo_root=Path(params.repo_root),
            mirror=Path(mirror) if mirror else None,
        )
        sidecar.write_text(json.dumps(provenance, indent=2) + "\n", encoding="utf-8")
