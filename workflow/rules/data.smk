# Data sets and models, from the network, a mirror, a package or this repository.
#
# The scripts read the mirror and the bounds of a download from `snakemake.config`: where and how
# a file was found is no reason to fetch it again, as a changed `params` would be.


localrules:
    fetch_dataset,
    fetch_model,


def own_files_of(wildcards):
    """Files of the user's, as far as they exist: the script says what is absent."""
    return list(filter(os.path.isfile, find_spec(registry(), wildcards.dataset).local_files))


# In a tuple, since Snakemake does not compare a dataclass.
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
        spec=lambda wildcards: (find_spec(registry(), wildcards.dataset),),
        files=lambda wildcards: list(map(KnownFile.at, own_files_of(wildcards))),
    script:
        "../../scripts/fetch_dataset.py"


rule fetch_model:
    input:
        lambda wildcards: mirrored_files(model_spec(wildcards.model), MIRROR),
    output:
        config="results/models/{model}/config.json",
        weights="results/models/{model}/model.safetensors",
        sidecar="results/models/{model}.json",
    log:
        "results/logs/fetch_model/{model}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        spec=lambda wildcards: (model_spec(wildcards.model),),
        local=lambda wildcards: [
            KnownFile.at(path) for path in local_files(model_spec(wildcards.model), REPO_ROOT)
        ],
    script:
        "../../scripts/fetch_model.py"
