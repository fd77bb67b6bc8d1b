# Time and memory, side by side: what is compared comes from one process.

EFFICIENCY_PARAMS = {
    **{key: config["forecast"][key] for key in FORECAST_KEYS},
    **config["sparse"],
    **config["efficiency"],
    "config_dir": str(CONFIG_DIR),
    "only": config["only"],
    "tasks": tasks_of,
    "datasets": datasets_of,
}


rule measure_efficiency:
    input:
        data=data_of,
        weights=weights_of,
    output:
        "results/efficiency/{study}_radii.csv",
    log:
        "results/logs/measure_efficiency/{study}_radii.log",
    benchmark:
        "results/benchmarks/measure_efficiency/{study}_radii.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: config["forecast"]["threads"]
    resources:
        gpu=1,
    params:
        **EFFICIENCY_PARAMS,
        variants=["full", *(f"sparse_r{r}" for r in config["radii"])],
    script:
        "../../scripts/measure_efficiency.py"


use rule measure_efficiency as measure_efficiency_of_radius with:
    output:
        "results/efficiency/{study}_sparse_r{r}.csv",
    log:
        "results/logs/measure_efficiency/{study}_sparse_r{r}.log",
    benchmark:
        "results/benchmarks/measure_efficiency/{study}_sparse_r{r}.tsv"
    params:
        **EFFICIENCY_PARAMS,
        variants=lambda wildcards: ["full", f"sparse_r{wildcards.r}"],


rule perf:
    input:
        unpack(perf_inputs),
    output:
        "results/{study}_perf_{method}.csv",
    log:
        "results/logs/perf/{study}_{method}.log",
    conda:
        "../../envs/environment.yaml"
    script:
        "../../scripts/perf.py"
