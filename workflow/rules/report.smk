# Figures of study 2, each as SVG and PNG; every one carries the study's validity.

STUDY_2_FIGURES = [
    "mass_by_radius",
    "mass_by_layer",
    "delta_mase",
    "speedup",
    "memory",
    "skill",
]
FIGURE_PARAMS = {
    "suite": lambda wildcards: study_of(wildcards).suite.name,
    "model": lambda wildcards: study_of(wildcards).model.name,
}


rule plot_mass_by_radius:
    input:
        validity="results/{study}_validity.csv",
        mass="results/{study}_mass_per_window.csv",
    output:
        svg=report(
            "results/figures/{study}_mass_by_radius.svg",
            caption="../report/mass_by_radius.rst",
            category="Sparse time attention",
            subcategory="Attention",
            labels={"shows": "figure: mass by radius", "study": "{study}"},
        ),
        png="results/figures/{study}_mass_by_radius.png",
    log:
        "results/logs/plot_mass_by_radius/{study}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        **FIGURE_PARAMS,
    script:
        "../../scripts/plot_mass_by_radius.py"


rule plot_mass_by_layer:
    input:
        validity="results/{study}_validity.csv",
        heads="results/mass/{study}_heads.parquet",
    output:
        svg=report(
            "results/figures/{study}_mass_by_layer.svg",
            caption="../report/mass_by_layer.rst",
            category="Sparse time attention",
            subcategory="Attention",
            labels={"shows": "figure: mass by layer", "study": "{study}"},
        ),
        png="results/figures/{study}_mass_by_layer.png",
    log:
        "results/logs/plot_mass_by_layer/{study}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        **FIGURE_PARAMS,
        radius=4 if 4 in config["mass"]["radii"] else config["mass"]["radii"][0],
    script:
        "../../scripts/plot_mass_by_layer.py"


rule plot_delta_mase:
    input:
        validity="results/{study}_validity.csv",
        full="results/scores/{study}_full.parquet",
        variants=[f"results/scores/{{study}}_sparse_r{r}.parquet" for r in config["radii"]],
        summary="results/{study}_radius_summary.csv",
    output:
        svg=report(
            "results/figures/{study}_delta_mase.svg",
            caption="../report/delta_mase.rst",
            category="Sparse time attention",
            subcategory="Accuracy",
            labels={"shows": "figure: change in MASE", "study": "{study}"},
        ),
        png="results/figures/{study}_delta_mase.png",
    log:
        "results/logs/plot_delta_mase/{study}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        **FIGURE_PARAMS,
        radii=config["radii"],
        alpha=config["statistics"]["alpha"],
    script:
        "../../scripts/plot_delta_mase.py"


rule plot_speedup:
    input:
        validity="results/{study}_validity.csv",
        compared=[f"results/{{study}}_perf_compare_r{r}.csv" for r in config["radii"]],
        mass="results/{study}_mass_per_window.csv",
    output:
        svg=report(
            "results/figures/{study}_speedup.svg",
            caption="../report/speedup.rst",
            category="Sparse time attention",
            subcategory="Efficiency",
            labels={"shows": "figure: speedup", "study": "{study}"},
        ),
        png="results/figures/{study}_speedup.png",
    log:
        "results/logs/plot_speedup/{study}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        **FIGURE_PARAMS,
    script:
        "../../scripts/plot_speedup.py"


rule plot_memory:
    input:
        validity="results/{study}_validity.csv",
        perf=[
            "results/{study}_perf_full.csv",
            *(f"results/{{study}}_perf_sparse_r{r}.csv" for r in config["radii"]),
        ],
    output:
        svg=report(
            "results/figures/{study}_memory.svg",
            caption="../report/memory.rst",
            category="Sparse time attention",
            subcategory="Efficiency",
            labels={"shows": "figure: memory", "study": "{study}"},
        ),
        png="results/figures/{study}_memory.png",
    log:
        "results/logs/plot_memory/{study}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        **FIGURE_PARAMS,
    script:
        "../../scripts/plot_memory.py"


rule plot_skill:
    input:
        validity="results/{study}_validity.csv",
        full="results/accuracy/{study}_full.csv",
        seasonal_naive="results/accuracy/{study}_seasonal_naive.csv",
    output:
        svg=report(
            "results/figures/{study}_skill.svg",
            caption="../report/skill.rst",
            category="Sparse time attention",
            subcategory="Accuracy",
            labels={"shows": "figure: skill over Seasonal Naive", "study": "{study}"},
        ),
        png="results/figures/{study}_skill.png",
    log:
        "results/logs/plot_skill/{study}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        **FIGURE_PARAMS,
        limit=lambda wildcards: study_of(wildcards).baseline_rel_mase_max,
    script:
        "../../scripts/plot_skill.py"


# Figures of study 1, each as SVG and PNG; every one carries the study's validity.

STUDY_1_FIGURES = [
    "soft_heatmap",
    "soft_controls",
    "soft_by_horizon",
    "soft_by_feature",
    "soft_by_sample_size",
    "soft_example",
    "soft_similarity",
]
SOFT_MASKS = sweep_variants(SOFT_SETTINGS["measures"], SOFT_SETTINGS["temperatures"], [])[1:]


rule plot_soft_heatmap:
    input:
        validity="results/{study}_validity.csv",
        summary="results/{study}_soft_summary.csv",
    output:
        svg=report(
            "results/figures/{study}_soft_heatmap.svg",
            caption="../report/soft_heatmap.rst",
            category="Soft group masks",
            subcategory="Accuracy",
            labels={"shows": "figure: measure and temperature", "study": "{study}"},
        ),
        png="results/figures/{study}_soft_heatmap.png",
    log:
        "results/logs/plot_soft_heatmap/{study}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        **FIGURE_PARAMS,
    script:
        "../../scripts/plot_soft_heatmap.py"


rule plot_soft_controls:
    input:
        validity="results/{study}_validity.csv",
        summary="results/{study}_soft_summary.csv",
    output:
        svg=report(
            "results/figures/{study}_soft_controls.svg",
            caption="../report/soft_controls.rst",
            category="Soft group masks",
            subcategory="Accuracy",
            labels={"shows": "figure: soft masks and controls", "study": "{study}"},
        ),
        png="results/figures/{study}_soft_controls.png",
    log:
        "results/logs/plot_soft_controls/{study}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        **FIGURE_PARAMS,
    script:
        "../../scripts/plot_soft_controls.py"


rule plot_soft_by_horizon:
    input:
        validity="results/{study}_validity.csv",
        summary="results/{study}_soft_summary.csv",
        table="results/{study}_soft_by_horizon.csv",
    output:
        svg=report(
            "results/figures/{study}_soft_by_horizon.svg",
            caption="../report/soft_by_horizon.rst",
            category="Soft group masks",
            subcategory="Where it helps",
            labels={"shows": "figure: gain by step", "study": "{study}"},
        ),
        png="results/figures/{study}_soft_by_horizon.png",
    log:
        "results/logs/plot_soft_by_horizon/{study}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        **FIGURE_PARAMS,
    script:
        "../../scripts/plot_soft_by_horizon.py"


rule plot_soft_by_feature:
    input:
        validity="results/{study}_validity.csv",
        summary="results/{study}_soft_summary.csv",
        table="results/{study}_soft_by_feature.csv",
    output:
        svg=report(
            "results/figures/{study}_soft_by_feature.svg",
            caption="../report/soft_by_feature.rst",
            category="Soft group masks",
            subcategory="Where it helps",
            labels={"shows": "figure: gain by feature", "study": "{study}"},
        ),
        png="results/figures/{study}_soft_by_feature.png",
    log:
        "results/logs/plot_soft_by_feature/{study}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        **FIGURE_PARAMS,
    script:
        "../../scripts/plot_soft_by_feature.py"


rule plot_soft_by_sample_size:
    input:
        validity="results/{study}_validity.csv",
        summary="results/{study}_soft_summary.csv",
        table="results/{study}_soft_by_sample_size.csv",
    output:
        svg=report(
            "results/figures/{study}_soft_by_sample_size.svg",
            caption="../report/soft_by_sample_size.rst",
            category="Soft group masks",
            subcategory="Where it helps",
            labels={"shows": "figure: gain by sample size", "study": "{study}"},
        ),
        png="results/figures/{study}_soft_by_sample_size.png",
    log:
        "results/logs/plot_soft_by_sample_size/{study}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        **FIGURE_PARAMS,
    script:
        "../../scripts/plot_soft_by_sample_size.py"


rule plot_soft_example:
    input:
        validity="results/{study}_validity.csv",
        summary="results/{study}_soft_summary.csv",
        data=data_of,
        scores_full="results/scores/{study}_full.parquet",
        forecasts_full="results/forecasts/{study}_full.parquet",
        similarity=SOFT_INPUTS["similarity"],
        scores=expand("results/scores/{{study}}_{variant}.parquet", variant=SOFT_MASKS),
        forecasts=expand("results/forecasts/{{study}}_{variant}.parquet", variant=SOFT_MASKS),
    output:
        svg=report(
            "results/figures/{study}_soft_example.svg",
            caption="../report/soft_example.rst",
            category="Soft group masks",
            subcategory="Examples",
            labels={"shows": "figure: one window", "study": "{study}"},
        ),
        png="results/figures/{study}_soft_example.png",
    log:
        "results/logs/plot_soft_example/{study}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        **FIGURE_PARAMS,
        study=study_of,
        variants=SOFT_MASKS,
    script:
        "../../scripts/plot_soft_example.py"


rule plot_soft_similarity:
    input:
        validity="results/{study}_validity.csv",
        similarity=expand(
            "results/similarity/{{study}}_{measure}.parquet", measure=SOFT_SETTINGS["measures"]
        ),
    output:
        svg=report(
            "results/figures/{study}_soft_similarity.svg",
            caption="../report/soft_similarity.rst",
            category="Soft group masks",
            subcategory="Examples",
            labels={"shows": "figure: similarity of series", "study": "{study}"},
        ),
        png="results/figures/{study}_soft_similarity.png",
    log:
        "results/logs/plot_soft_similarity/{study}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        **FIGURE_PARAMS,
        measures=SOFT_SETTINGS["measures"],
    script:
        "../../scripts/plot_soft_similarity.py"


# All of study 1, for the studies of the settings.
rule soft:
    input:
        [f"results/{study}_soft_{table}.csv" for study in config["run"] for table in SOFT_TABLES],
        [
            f"results/figures/{study}_{figure}.{suffix}"
            for study in config["run"]
            for figure in STUDY_1_FIGURES
            for suffix in ["svg", "png"]
        ],
        lambda wildcards: [
            f"results/report/{study}_soft_{page}.html"
            for study in config["run"]
            for page in SOFT_PAGES
        ],


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
        model=lambda wildcards: model_of(wildcards)["model"],
        data=lambda wildcards: [
            f"results/data/{name}.json" for name in study_of(wildcards).suite.datasets
        ],
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
        targets=["all", "soft"],
    script:
        "../../scripts/plot_rulegraph.py"
