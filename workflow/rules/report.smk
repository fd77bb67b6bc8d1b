# Pages of `snakemake --report`: tables that sort and filter, under the banner of their study.
#
# Categories are shown in alphabetical order: the verdicts come first.

OVERVIEW = "At a glance: verdicts and validity"
SETTINGS = "Configuration and versions"
SPARSE = "Sparse time attention"
SOFT = "Soft group masks"

SPARSE_PAGES = [
    "sparse_verdicts",
    "validity",
    "radius_summary",
    "perf_compare",
    "perf",
    "mass_summary",
    "mass_per_window",
]
SOFT_PAGES = ["verdicts", "summary", "by_feature", "by_horizon", "by_sample_size", "smoothing"]


report: "../report/workflow.rst"


localrules:
    report_sparse,
    report_soft,
    report_configuration,


rule report_sparse:
    input:
        validity="results/{study}_validity.csv",
        radius_summary="results/{study}_radius_summary.csv",
        perf_compare=[f"results/{{study}}_perf_compare_r{r}.csv" for r in config["radii"]],
        perf=[
            f"results/{{study}}_perf_{method}.csv"
            for method in ["seasonal_naive", "full", *(f"sparse_r{r}" for r in config["radii"])]
        ],
        mass_summary="results/{study}_mass_summary.csv",
        mass_per_window="results/{study}_mass_per_window.csv",
    output:
        verdicts=report(
            "results/report/{study}_sparse_verdicts.html",
            caption="../report/sparse_verdicts.rst",
            category=OVERVIEW,
            labels={"shows": "verdicts: sparse time attention", "study": "{study}"},
        ),
        validity=report(
            "results/report/{study}_validity.html",
            caption="../report/validity.rst",
            category=OVERVIEW,
            labels={"shows": "validity: every gate", "study": "{study}"},
        ),
        radius_summary=report(
            "results/report/{study}_radius_summary.html",
            caption="../report/radius_summary.rst",
            category=SPARSE,
            subcategory="Accuracy",
            labels={"shows": "table: tests by radius", "study": "{study}"},
        ),
        perf_compare=report(
            "results/report/{study}_perf_compare.html",
            caption="../report/perf_compare.rst",
            category=SPARSE,
            subcategory="Efficiency",
            labels={"shows": "table: each task and radius", "study": "{study}"},
        ),
        perf=report(
            "results/report/{study}_perf.html",
            caption="../report/perf.rst",
            category=SPARSE,
            subcategory="Accuracy",
            labels={"shows": "table: each task and method", "study": "{study}"},
        ),
        mass_summary=report(
            "results/report/{study}_mass_summary.html",
            caption="../report/mass_summary.rst",
            category=SPARSE,
            subcategory="Attention",
            labels={"shows": "table: attention mass", "study": "{study}"},
        ),
        mass_per_window=report(
            "results/report/{study}_mass_per_window.html",
            caption="../report/mass_per_window.rst",
            category=SPARSE,
            subcategory="Attention",
            labels={"shows": "table: attention mass of each window", "study": "{study}"},
        ),
    log:
        "results/logs/report_sparse/{study}.log",
    conda:
        "../../envs/environment.yaml"
    script:
        "../../scripts/report_sparse.py"


rule report_soft:
    input:
        validity="results/{study}_validity.csv",
        verdicts="results/{study}_soft_verdicts.csv",
        summary="results/{study}_soft_summary.csv",
        by_feature="results/{study}_soft_by_feature.csv",
        by_horizon="results/{study}_soft_by_horizon.csv",
        by_sample_size="results/{study}_soft_by_sample_size.csv",
        smoothing="results/{study}_soft_smoothing.csv",
    output:
        verdicts=report(
            "results/report/{study}_soft_verdicts.html",
            caption="../report/soft_verdicts_table.rst",
            category=OVERVIEW,
            labels={"shows": "verdicts: soft group masks", "study": "{study}"},
        ),
        summary=report(
            "results/report/{study}_soft_summary.html",
            caption="../report/soft_summary_table.rst",
            category=SOFT,
            subcategory="Accuracy",
            labels={"shows": "table: every variant", "study": "{study}"},
        ),
        by_feature=report(
            "results/report/{study}_soft_by_feature.html",
            caption="../report/soft_by_feature_table.rst",
            category=SOFT,
            subcategory="Where it helps",
            labels={"shows": "table: gain by feature", "study": "{study}"},
        ),
        by_horizon=report(
            "results/report/{study}_soft_by_horizon.html",
            caption="../report/soft_by_horizon_table.rst",
            category=SOFT,
            subcategory="Where it helps",
            labels={"shows": "table: gain by step", "study": "{study}"},
        ),
        by_sample_size=report(
            "results/report/{study}_soft_by_sample_size.html",
            caption="../report/soft_by_sample_size_table.rst",
            category=SOFT,
            subcategory="Where it helps",
            labels={"shows": "table: gain by sample size", "study": "{study}"},
        ),
        smoothing=report(
            "results/report/{study}_soft_smoothing.html",
            caption="../report/soft_smoothing_table.rst",
            category=SOFT,
            subcategory="Accuracy",
            labels={"shows": "table: smoothing", "study": "{study}"},
        ),
    log:
        "results/logs/report_soft/{study}.log",
    conda:
        "../../envs/environment.yaml"
    script:
        "../../scripts/report_soft.py"


rule report_configuration:
    input:
        forecasts=[
            "results/forecasts/{study}_full.parquet",
            *(f"results/forecasts/{{study}}_sparse_r{r}.parquet" for r in config["radii"]),
        ],
        model=model_sidecar_of,
        data=lambda wildcards: [f"results/data/{name}.json" for name in datasets_of(wildcards)],
    output:
        report(
            "results/report/{study}_configuration.html",
            caption="../report/configuration.rst",
            category=SETTINGS,
            labels={"shows": "configuration and versions", "study": "{study}"},
        ),
    log:
        "results/logs/report_configuration/{study}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        settings=config,
        repo_root=str(REPO_ROOT),
    script:
        "../../scripts/report_configuration.py"


rule plot_rulegraph:
    output:
        "results/figures/rulegraph.svg",
    log:
        "results/logs/plot_rulegraph.log",
    conda:
        "../../envs/environment.yaml"
    params:
        snakefile=str(REPO_ROOT / "workflow" / "Snakefile"),
        targets=["all", "soft"],
    script:
        "../../scripts/plot_rulegraph.py"
