# Accuracy of forecasts: per item, window and step, and per task as fev reports it.

# Of all series at once, joined from those of pieces where there are any; and of a piece.
for (suffix, (folder, job, variants)), part in product(TOGETHER.items(), ["", "_{scatteritem}"]):
    job, variants = (job, variants) if suffix else ("{method}", ["{method}"])
    names = [f"{folder}{{study}}_{variant}" for variant in variants]

    rule:
        name:
            f"score{suffix}_piece" if part else f"score{suffix}"
        input:
            **({} if part else pieces_of_scores(names)),
            forecasts=[f"results/forecasts/{name}.parquet" for name in names],
            data=data_of,
        output:
            **{kind: temp(f) if part else f for kind, f in scores_of(names, part).items()},
        log:
            f"results/logs/score/{{study}}_{job}{part}.log",
        benchmark:
            f"results/benchmarks/score/{{study}}_{job}{part}.tsv"
        conda:
            "../../envs/environment.yaml"
        params:
            study=study_of,
        script:
            "../../scripts/score.py"


ruleorder: score_soft > score
ruleorder: score_soft_piece > score_piece


# From the accuracy of two methods to a verdict, and the checks that it depends on.
FORECAST_FILES = ["scores", "forecasts"]
TESTED_BY = {"statistics": config["statistics"], "clusters": clusters_of, "plans": plans_of}


rule validity:
    input:
        unpack(inputs_of_validity),
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
        study=study_of,
        baseline_rel_mase_max=lambda wildcards: study_of(wildcards).baseline_rel_mase_max,
        published=published_of,
        data_tolerance=config["statistics"]["data_tolerance"],
    script:
        "../../scripts/validity.py"


rule ttest:
    input:
        validity="results/{study}_validity.csv",
        accuracy_full="results/accuracy/{study}_full.csv",
        accuracy_variant="results/accuracy/{study}_sparse_r{r}.csv",
        efficiency=lambda wildcards: efficiency_of(wildcards.study, wildcards.r),
        full=[f"results/{kind}/{{study}}_full.parquet" for kind in FORECAST_FILES],
        variant=[f"results/{kind}/{{study}}_sparse_r{{r}}.parquet" for kind in FORECAST_FILES],
    output:
        compare="results/{study}_perf_compare_r{r}.csv",
        ttest="results/{study}_ttest_r{r}.csv",
        multiverse="results/{study}_multiverse_r{r}.csv",
    log:
        "results/logs/ttest/{study}_r{r}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        **TESTED_BY,
    script:
        "../../scripts/ttest.py"


rule radius_summary:
    input:
        ttest=[f"results/{{study}}_ttest_r{r}.csv" for r in config["radii"]],
        compare=[f"results/{{study}}_perf_compare_r{r}.csv" for r in config["radii"]],
    output:
        "results/{study}_radius_summary.csv",
    log:
        "results/logs/radius_summary/{study}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        statistics=config["statistics"],
    script:
        "../../scripts/radius_summary.py"


# The tables of the prior studies through these statistics and gates: they must come out invalid.
rule prior:
    output:
        validity="results/prior_validity.csv",
        soft="results/prior_soft.csv",
    log:
        "results/logs/prior.log",
    conda:
        "../../envs/environment.yaml"
    params:
        full=reference("prior_cbii_perf_full"),
        sparse=reference("prior_cbii_perf_sparse_r8", "prior_cbii_perf_sparse_r32"),
        mass=reference("prior_cbii_mass_per_window"),
        soft=reference("prior_cbii_soft_vs_hard"),
        published=reference("published_cbii_seasonal_naive"),
        statistics=config["statistics"],
        clusters=load_study("cbii", CONFIG_DIR).suite.clusters,
    script:
        "../../scripts/prior.py"
