# Similarity of the series of a batch, which soft group masks weigh them by.


rule similarity:
    input:
        data=data_of,
        model=lambda wildcards: (f"results/models/{study_of(wildcards).model.name}/config.json"),
    output:
        "results/similarity/{study}_{measure}.parquet",
    log:
        "results/logs/similarity/{study}_{measure}.log",
    benchmark:
        "results/benchmarks/similarity/{study}_{measure}.tsv"
    conda:
        "../../envs/environment.yaml"
    params:
        settings=config["similarity"],
        batch_size=config["forecast"]["batch_size"],
        context_length=config["forecast"]["context_length"],
        config_dir=str(CONFIG_DIR),
        only=config["only"],
        tasks=tasks_of,
        datasets=datasets_of,
    script:
        "../../scripts/similarity.py"
