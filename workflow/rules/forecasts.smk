# Forecasts of a study: by its model under an attention variant, and by Seasonal Naive.


scattergather:
    forecast=1,
    score=1,


FORECAST_PARAMS = {
    **{key: config["forecast"][key] for key in FORECAST_KEYS},
    **config["sparse"],
    "similarity_settings": config["similarity"],
    "config_dir": str(CONFIG_DIR),
    "only": config["only"],
    "tasks": tasks_of,
    "datasets": datasets_of,
}


rule forecast:
    input:
        data=data_of,
        weights=weights_of,
        model=model_sidecar_of,
        similarity=similarity_of,
    output:
        temp("results/forecasts/pieces/{study}_{variant}_{scatteritem}.parquet"),
    log:
        "results/logs/forecast/{study}_{variant}_{scatteritem}.log",
    benchmark:
        "results/benchmarks/forecast/{study}_{variant}_{scatteritem}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: config["forecast"]["threads"]
    resources:
        gpu=1,
    params:
        **FORECAST_PARAMS,
        variants=lambda wildcards: [wildcards.variant],
    script:
        "../../scripts/forecast.py"


use rule forecast as forecast_soft with:
    output:
        [
            temp(f"results/forecasts/pieces/{{study}}_{variant}_{{scatteritem}}.parquet")
            for variant in SOFT_FAMILY
        ],
    log:
        "results/logs/forecast/{study}_soft_{measure}_t{temperature}_{scatteritem}.log",
    benchmark:
        "results/benchmarks/forecast/{study}_soft_{measure}_t{temperature}_{scatteritem}.tsv"
    # Many of these run beside each other: one thread each keeps more cores busy.
    threads: 1
    params:
        **FORECAST_PARAMS,
        variants=lambda wildcards: [variant.format(**wildcards) for variant in SOFT_FAMILY],


rule gather_forecasts:
    input:
        gather.forecast("results/forecasts/pieces/{{study}}_{{variant}}_{scatteritem}.parquet"),
    output:
        "results/forecasts/{study}_{variant}.parquet",
    log:
        "results/logs/gather_forecasts/{study}_{variant}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        config_dir=str(CONFIG_DIR),
        only=config["only"],
    script:
        "../../scripts/gather_forecasts.py"


use rule gather_forecasts as gather_forecasts_soft with:
    input:
        [
            gather.forecast(
                "results/forecasts/pieces/{{study}}_"
                + variant.replace("{", "{{").replace("}", "}}")
                + "_{scatteritem}.parquet"
            )
            for variant in SOFT_FAMILY
        ],
    output:
        [f"results/forecasts/{{study}}_{variant}.parquet" for variant in SOFT_FAMILY],
    log:
        "results/logs/gather_forecasts/{study}_soft_{measure}_t{temperature}.log",


ruleorder: forecast_soft > forecast
ruleorder: gather_forecasts_soft > gather_forecasts


rule seasonal_naive:
    input:
        data=data_of,
    output:
        forecasts="results/forecasts/{study}_seasonal_naive.parquet",
    log:
        "results/logs/seasonal_naive/{study}.log",
    benchmark:
        "results/benchmarks/seasonal_naive/{study}.tsv"
    conda:
        "../../envs/environment.yaml"
    params:
        config_dir=str(CONFIG_DIR),
        only=config["only"],
        suite=lambda wildcards: study_of(wildcards).suite.name,
        tasks=tasks_of,
        data_paths=lambda wildcards, input: dict(zip(datasets_of(wildcards), input.data)),
    script:
        "../../scripts/seasonal_naive.py"


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
