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


# From the accuracy of two methods to a verdict, and the checks that it depends on.


rule compare:
    input:
        accuracy_full="results/accuracy/{study}_full.csv",
        accuracy_variant="results/accuracy/{study}_sparse_r{r}.csv",
        efficiency=lambda wildcards: efficiency_of(wildcards.study, wildcards.r),
    output:
        "results/{study}_perf_compare_r{r}.csv",
    log:
        "results/logs/compare/{study}_r{r}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        radius=lambda wildcards: wildcards.r,
    script:
        "../../scripts/compare.py"


rule validity:
    input:
        accuracy_full="results/accuracy/{study}_full.csv",
        accuracy_seasonal_naive="results/accuracy/{study}_seasonal_naive.csv",
        mass="results/mass/{study}_layers.parquet",
        forecasts_full="results/forecasts/{study}_full.parquet",
    output:
        "results/{study}_validity.csv",
    log:
        "results/logs/validity/{study}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        suite=lambda wildcards: study_of(wildcards).suite.name,
        published=str(CONFIG_DIR / "reference" / "published_cbii_seasonal_naive.csv"),
        tolerance=config["statistics"]["data_tolerance"],
        baseline_rel_mase_max=lambda wildcards: study_of(wildcards).baseline_rel_mase_max,
    script:
        "../../scripts/validity.py"


rule ttest:
    input:
        compare="results/{study}_perf_compare_r{r}.csv",
        validity="results/{study}_validity.csv",
        accuracy_full="results/accuracy/{study}_full.csv",
        accuracy_variant="results/accuracy/{study}_sparse_r{r}.csv",
        accuracy_seasonal_naive="results/accuracy/{study}_seasonal_naive.csv",
    output:
        "results/{study}_ttest_r{r}.csv",
    log:
        "results/logs/ttest/{study}_r{r}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        radius=lambda wildcards: wildcards.r,
        alpha=config["statistics"]["alpha"],
        tost_margin=config["statistics"]["tost_margin"],
    script:
        "../../scripts/ttest.py"


rule radius_summary:
    input:
        [f"results/{{study}}_ttest_r{r}.csv" for r in config["radii"]],
    output:
        "results/{study}_radius_summary.csv",
    log:
        "results/logs/radius_summary/{study}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        alpha=config["statistics"]["alpha"],
    script:
        "../../scripts/radius_summary.py"


rule prior_validity:
    input:
        expand(
            str(CONFIG_DIR / "reference" / "prior_cbii_{table}.csv"),
            table=["perf_full", "perf_sparse_r8", "perf_sparse_r32", "mass_per_window"],
        ),
        published=str(CONFIG_DIR / "reference" / "published_cbii_seasonal_naive.csv"),
    output:
        "results/prior_validity.csv",
    log:
        "results/logs/prior_validity.log",
    conda:
        "../../envs/environment.yaml"
    params:
        reference=lambda wildcards, input: str(Path(input.published).parent),
        alpha=config["statistics"]["alpha"],
        tost_margin=config["statistics"]["tost_margin"],
    script:
        "../../scripts/prior_validity.py"
