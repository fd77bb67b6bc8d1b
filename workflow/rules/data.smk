# Data sets and models, from the network, a mirror, a package or this repository. The
# scripts read the mirror and the bounds of a download from `snakemake.config`: where and how a file
# was found is no reason to fetch it again, as a changed `params` would be.


# One data set, or all of a suite's that need no network, whose fetching takes less than a start.
for kind, datasets in {"dataset": ["{dataset}"], **at_hand()}.items():

    rule:
        name:
            f"fetch_{kind}"
        input:
            # What is in a file decides, not its age, which a copy changes and an older file lacks.
            own_files_of(datasets, ancient),
        output:
            data=[f"results/data/{dataset}.parquet" for dataset in datasets],
            sidecar=[f"results/data/{dataset}.json" for dataset in datasets],
        log:
            f"results/logs/fetch_dataset/{datasets[0] if kind == 'dataset' else kind}.log",
        localrule: True
        conda:
            "../../envs/environment.yaml"
        params:
            # In a tuple, since Snakemake does not compare a dataclass.
            spec=specs_of(datasets),
            files=own_files_of(datasets, KnownFile.at),
        script:
            "../../scripts/fetch_dataset.py"

    if kind != "dataset":
        workflow.ruleorder(f"fetch_{kind}", "fetch_dataset")


rule fetch_model:
    input:
        lambda wildcards: mirrored_files(model_spec(wildcards.model), MIRROR),
    output:
        config="results/models/{model}/config.json",
        weights="results/models/{model}/model.safetensors",
        sidecar="results/models/{model}.json",
    log:
        "results/logs/fetch_model/{model}.log",
    localrule: True
    conda:
        "../../envs/environment.yaml"
    params:
        spec=lambda wildcards: (model_spec(wildcards.model),),
        local=lambda wildcards: [
            KnownFile.at(path) for path in local_files(model_spec(wildcards.model), REPO_ROOT)
        ],
    script:
        "../../scripts/fetch_model.py"
