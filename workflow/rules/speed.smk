# Time and memory, side by side: what is compared comes from one process.


EFFICIENCY_PARAMS = {
    "study": study_of,
    "forecast": FORECAST,
    "sparse": config["sparse"],
    "efficiency": config["efficiency"],
}


rule measure_efficiency:
    input:
        unpack(data_and_weights_of),
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
        unpack(inputs_of_perf),
    output:
        "results/{study}_perf_{method}.csv",
    log:
        "results/logs/perf/{study}_{method}.log",
    conda:
        "../../envs/environment.yaml"
    script:
        "../../scripts/perf.py"


# Speed of the attention engine on random weights; needs no download. Not part of rule `all`.


rule benchmark_attention_regime:
    input:
        unpack(series_of_regime),
        weights="results/models/chronos-2-random/model.safetensors",
    output:
        "results/benchmarks/attention/{regime}_{device}.csv",
    log:
        "results/logs/benchmark_attention/{regime}_{device}.log",
    conda:
        "../../envs/environment.yaml"
    threads: config["forecast"]["threads"]
    resources:
        gpu=1,
    params:
        **{k: v for k, v in config["benchmark"].items() if not re.match("dense|scale", k)},
        forecast={key: FORECAST[key] for key in ("dtype", "seed")},
    script:
        "../../scripts/benchmark_attention.py"


rule benchmark_attention:
    input:
        regimes_of,
    output:
        "results/benchmarks/attention_{device}.csv",
    log:
        "results/logs/benchmark_attention/{device}.log",
    conda:
        "../../envs/environment.yaml"
    script:
        "../../scripts/gather_benchmark.py"


rule benchmark_probe:
    input:
        weights="results/models/chronos-2-random/model.safetensors",
    output:
        "results/benchmarks/probe_{device}.csv",
    log:
        "results/logs/benchmark_probe/{device}.log",
    conda:
        "../../envs/environment.yaml"
    threads: config["forecast"]["threads"]
    resources:
        gpu=1,
    params:
        forecast={key: FORECAST[key] for key in ("dtype", "seed")},
        sizes={"batch_size": 4, "num_patches": 512, "num_future": 4},
        repeats=config["benchmark"]["repeats"],
    script:
        "../../scripts/benchmark_probe.py"


rule benchmark_scale:
    input:
        weights="results/models/nano-random/model.safetensors",
    output:
        "results/benchmarks/scale_{device}.csv",
    log:
        "results/logs/benchmark_scale/{device}.log",
    conda:
        "../../envs/environment.yaml"
    threads: config["forecast"]["threads"]
    resources:
        gpu=1,
    params:
        forecast={"dtype": "float32", "seed": FORECAST["seed"]},
        batch_size=FORECAST["batch_size"],
        series=config["benchmark"]["scale"],
    script:
        "../../scripts/benchmark_scale.py"
