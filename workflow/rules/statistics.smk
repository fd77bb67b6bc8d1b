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
