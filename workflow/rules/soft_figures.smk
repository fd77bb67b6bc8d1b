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
        variants=SOFT_MASKS,
        config_dir=str(CONFIG_DIR),
        only=config["only"],
        tasks=tasks_of,
        datasets=datasets_of,
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
