# Accuracy of forecasts: per item, window and step, and per task as fev reports it.


rule score_piece:
    input:
        forecasts="results/forecasts/{study}_{method}.parquet",
        data=data_of,
    output:
        scores=temp("results/scores/pieces/{study}_{method}_{scatteritem}.parquet"),
        accuracy=temp("results/scores/pieces/{study}_{method}_{scatteritem}.csv"),
    log:
        "results/logs/score/{study}_{method}_{scatteritem}.log",
    benchmark:
        "results/benchmarks/score/{study}_{method}_{scatteritem}.tsv"
    conda:
        "../../envs/environment.yaml"
    params:
        config_dir=str(CONFIG_DIR),
        only=config["only"],
        suite=lambda wildcards: study_of(wildcards).suite.name,
        tasks=tasks_of,
        data_paths=lambda wildcards, input: dict(zip(datasets_of(wildcards), input.data)),
    script:
        "../../scripts/score.py"


use rule score_piece as score with:
    input:
        forecasts="results/forecasts/{study}_{method}.parquet",
        data=data_of,
        pieces=pieces_of_scores("{study}_{method}", "parquet"),
        tables=pieces_of_scores("{study}_{method}", "csv"),
    output:
        scores="results/scores/{study}_{method}.parquet",
        accuracy="results/accuracy/{study}_{method}.csv",
    log:
        "results/logs/score/{study}_{method}.log",
    benchmark:
        "results/benchmarks/score/{study}_{method}.tsv"


use rule score_piece as score_soft_piece with:
    input:
        forecasts=[f"results/forecasts/{{study}}_{variant}.parquet" for variant in SOFT_FAMILY],
        data=data_of,
    output:
        scores=[
            temp(f"results/scores/pieces/{{study}}_{variant}_{{scatteritem}}.parquet")
            for variant in SOFT_FAMILY
        ],
        accuracy=[
            temp(f"results/scores/pieces/{{study}}_{variant}_{{scatteritem}}.csv")
            for variant in SOFT_FAMILY
        ],
    log:
        "results/logs/score/{study}_soft_{measure}_t{temperature}_{scatteritem}.log",
    benchmark:
        "results/benchmarks/score/{study}_soft_{measure}_t{temperature}_{scatteritem}.tsv"


use rule score as score_soft with:
    input:
        forecasts=[f"results/forecasts/{{study}}_{variant}.parquet" for variant in SOFT_FAMILY],
        data=data_of,
        pieces=pieces_of_soft_scores("parquet"),
        tables=pieces_of_soft_scores("csv"),
    output:
        scores=[f"results/scores/{{study}}_{variant}.parquet" for variant in SOFT_FAMILY],
        accuracy=[f"results/accuracy/{{study}}_{variant}.csv" for variant in SOFT_FAMILY],
    log:
        "results/logs/score/{study}_soft_{measure}_t{temperature}.log",
    benchmark:
        "results/benchmarks/score/{study}_soft_{measure}_t{temperature}.tsv"


ruleorder: score_soft > score
ruleorder: score_soft_piece > score_piece
