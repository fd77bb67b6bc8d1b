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


# Speed of the attention engine; needs no download. Not part of rule `all`.


# One job a regime, so that what is done stays when a later one is stopped.
BENCHMARK_REGIMES = [
    *(f"{count}x{length}" for count, length in config["benchmark"]["dense"]),
    "ragged",
    "ragged_long",
]


rule benchmark_attention_regime:
    input:
        weights="results/models/chronos-2-random/model.safetensors",
        short=lambda wildcards: benchmark_data("short", wildcards.regime),
        long=lambda wildcards: benchmark_data("long", wildcards.regime),
    output:
        "results/benchmarks/attention/{regime}_{device}.csv",
    log:
        "results/logs/benchmark_attention/{regime}_{device}.log",
    wildcard_constraints:
        regime=r"\d+x\d+|ragged|ragged_long",
        device=r"cpu|cuda(?::\d+)?",
    conda:
        "../../envs/environment.yaml"
    threads: config["forecast"]["threads"]
    resources:
        gpu=1,
    params:
        **{
            key: value
            for key, value in config["benchmark"].items()
            if key not in ("dense", "scale")
        },
        dtype=config["forecast"]["dtype"],
        seed=config["forecast"]["seed"],
    script:
        "../../scripts/benchmark_attention.py"


rule benchmark_attention:
    input:
        expand(
            "results/benchmarks/attention/{regime}_{{device}}.csv",
            regime=BENCHMARK_REGIMES,
        ),
    output:
        "results/benchmarks/attention_{device}.csv",
    log:
        "results/logs/benchmark_attention/{device}.log",
    wildcard_constraints:
        device=r"cpu|cuda(?::\d+)?",
    conda:
        "../../envs/environment.yaml"
    script:
        "../../scripts/gather_benchmark.py"


rule benchmark_scale:
    input:
        weights="results/models/nano-random/model.safetensors",
    output:
        "results/benchmarks/scale_{device}.csv",
    log:
        "results/logs/benchmark_scale/{device}.log",
    wildcard_constraints:
        device=r"cpu|cuda(?::\d+)?",
    conda:
        "../../envs/environment.yaml"
    threads: config["forecast"]["threads"]
    resources:
        gpu=1,
    params:
        series=config["benchmark"]["scale"],
        batch_size=config["forecast"]["batch_size"],
        seed=config["forecast"]["seed"],
    script:
        "../../scripts/benchmark_scale.py"
