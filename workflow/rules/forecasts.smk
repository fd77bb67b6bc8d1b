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
IN_PIECES = len(gather.forecast("{scatteritem}")) > 1
PIECE = "_{scatteritem}" if IN_PIECES else ""


# Straight into the file of a variant or, where a study is split, into pieces that are joined. Of soft
# masks, several jobs run beside each other: one thread each keeps more cores busy.
for suffix, (folder, job, variants) in TOGETHER.items():
    names = [f"{folder}{{study}}_{variant}" for variant in variants]
    whole = [f"results/forecasts/{name}.parquet" for name in names]
    piece = [f"results/forecasts/pieces/{name}_{{scatteritem}}.parquet" for name in names]

    rule:
        name:
            f"forecast{suffix}"
        input:
            unpack(inputs_of_model),
        output:
            temp(piece) if IN_PIECES else whole,
        log:
            f"results/logs/forecast/{{study}}_{job}{PIECE}.log",
        benchmark:
            f"results/benchmarks/forecast/{{study}}_{job}{PIECE}.tsv"
        conda:
            "../../envs/environment.yaml"
        threads: 1 if suffix else config["forecast"]["threads"]
        resources:
            gpu=1,
        params:
            **FORECAST_PARAMS,
            variants=named(variants),
        script:
            "../../scripts/forecast.py"

    if IN_PIECES:

        rule:
            name:
                f"gather_forecasts{suffix}"
            input:
                pieces(gather.forecast, piece),
            output:
                whole,
            log:
                f"results/logs/gather_forecasts/{{study}}_{job}.log",
            conda:
                "../../envs/environment.yaml"
            params:
                study=study_of,
            script:
                "../../scripts/gather_forecasts.py"


ruleorder: forecast_soft > forecast


if IN_PIECES:

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
