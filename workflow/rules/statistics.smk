# From the accuracy of two methods to a verdict, and the checks that it depends on.


rule compare:
    input:
        full="results/{study}_perf_full.csv",
        variant="results/{study}_perf_sparse_r{r}.csv",
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
        perf_full="results/{study}_perf_full.csv",
        perf_seasonal_naive="results/{study}_perf_seasonal_naive.csv",
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
        perf_full="results/{study}_perf_full.csv",
        perf_variant="results/{study}_perf_sparse_r{r}.csv",
        perf_seasonal_naive="results/{study}_perf_seasonal_naive.csv",
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
