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
