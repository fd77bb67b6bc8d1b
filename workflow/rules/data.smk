# Data sets and models, from the network, a mirror, a package or this repository.
#
# The scripts read the mirror and the bounds of a download from `snakemake.config`: where and how
# a file was found is no reason to fetch it again, as a changed `params` would be.

import os
from functools import cache

from study.config.datasets import find_spec, load_registry
from study.config.models import load_model_spec, local_files
from study.jobs.files import sha256_of_file


localrules:
    fetch_dataset,
    fetch_model,


@cache
def dataset_by_name(name):
    """Read once: a job's inputs and its parameters ask for it."""
    return find_spec(load_registry(CONFIG_DIR / "datasets.yaml"), name)


def own_files_of(wildcards):
    """Files of the user's, as far as they exist: the script says what is absent."""
    return list(filter(os.path.isfile, dataset_by_name(wildcards.dataset).local_files))


rule fetch_dataset:
    input:
        # What is in a file decides, not its age, which a copy changes and an older file lacks.
        lambda wildcards: [ancient(path) for path in own_files_of(wildcards)],
    output:
        data="results/data/{dataset}.parquet",
        sidecar="results/data/{dataset}.json",
    log:
        "results/logs/fetch_dataset/{dataset}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        spec=lambda wildcards: dataset_by_name(wildcards.dataset).content,
        checksums=lambda wildcards: list(map(sha256_of_file, own_files_of(wildcards))),
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
