# Data sets and models, from the network, a mirror, a package or this repository.
#
# The scripts read the mirror and the bounds of a download from `snakemake.config`: where and how
# a file was found is no reason to fetch it again, as a changed `params` would be.

from study.config.datasets import find_spec, load_registry
from study.config.models import load_model_spec, local_files


localrules:
    fetch_dataset,
    fetch_model,


rule fetch_dataset:
    output:
        data="results/data/{dataset}.parquet",
        sidecar="results/data/{dataset}.json",
    log:
        "results/logs/fetch_dataset/{dataset}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        registry=str(CONFIG_DIR / "datasets.yaml"),
        spec=lambda wildcards: repr(
            find_spec(load_registry(CONFIG_DIR / "datasets.yaml"), wildcards.dataset)
        ),
    script:
        "../../scripts/fetch_dataset.py"


rule fetch_model:
    input:
        lambda wildcards: local_files(
            load_model_spec(wildcards.model, CONFIG_DIR), REPO_ROOT, MIRROR
        ),
    output:
        config="results/models/{model}/config.json",
        weights="results/models/{model}/model.safetensors",
        sidecar="results/models/{model}.json",
    log:
        "results/logs/fetch_model/{model}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        config_dir=str(CONFIG_DIR),
        repo_root=str(REPO_ROOT),
        spec=lambda wildcards: repr(load_model_spec(wildcards.model, CONFIG_DIR)),
    script:
        "../../scripts/fetch_model.py"
