# Forecasts of a study: by its model under an attention variant, and by Seasonal Naive.


scattergather:
    forecast=1,
    score=1,


FORECAST_PARAMS = {
    "study": study_of,
    "forecast": FORECAST,
    "sparse": config["sparse"],
    "similarity": similarity_settings_of,
}
FORECAST_PIECES = "results/forecasts/pieces/{study}"


rule forecast:
    input:
        unpack(inputs_of_model),
    output:
        temp(f"{FORECAST_PIECES}_{{variant}}_{{scatteritem}}.parquet"),
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
        temp([f"{FORECAST_PIECES}_{soft}_{{scatteritem}}.parquet" for soft in SOFT_FAMILY]),
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
        pieces(gather.forecast, f"{FORECAST_PIECES}_{{variant}}", "parquet"),
    output:
        "results/forecasts/{study}_{variant}.parquet",
    log:
        "results/logs/gather_forecasts/{study}_{variant}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        study=study_of,
    script:
        "../../scripts/gather_forecasts.py"


use rule gather_forecasts as gather_forecasts_soft with:
    input:
        pieces(gather.forecast, f"{FORECAST_PIECES}_{{variant}}", "parquet", SOFT_FAMILY),
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
        "results/forecasts/{study}_seasonal_naive.parquet",
    log:
        "results/logs/seasonal_naive/{study}.log",
    benchmark:
        "results/benchmarks/seasonal_naive/{study}.tsv"
    conda:
        "../../envs/environment.yaml"
    params:
        study=study_of,
    script:
        "../../scripts/seasonal_naive.py"


# Similarity of the series of a batch, which soft group masks weigh them by.
rule similarity:
    input:
        data=data_of,
        model=lambda wildcards: f"results/models/{study_of(wildcards).model.name}/config.json",
    output:
        "results/similarity/{study}_{measure}.parquet",
    log:
        "results/logs/similarity/{study}_{measure}.log",
    benchmark:
        "results/benchmarks/similarity/{study}_{measure}.tsv"
    conda:
        "../../envs/environment.yaml"
    params:
        study=study_of,
        similarity=config["similarity"],
        batches={key: FORECAST[key] for key in ("batch_size", "context_length")},
    script:
        "../../scripts/similarity.py"
