# Time and memory, side by side: what is compared comes from one process.


rule measure_efficiency:
    input:
        unpack(data_and_weights_of),
    output:
        "results/efficiency/{study}_{timed}.csv",
    log:
        "results/logs/measure_efficiency/{study}_{timed}.log",
    benchmark:
        "results/benchmarks/measure_efficiency/{study}_{timed}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: config["forecast"]["threads"]
    resources:
        gpu=1,
    params:
        **{key: value for key, value in FORECAST_PARAMS.items() if key != "similarity"},
        efficiency=config["efficiency"],
        variants=timed_with_full,
    script:
        "../../scripts/measure_efficiency.py"


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
        timing={k: v for k, v in config["benchmark"].items() if not re.match("dense|s[ci]", k)},
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
        "../../scripts/benchmark_attention.py"


# What the probe costs, and how time and memory grow with the number of series.
for measuring, weights, dtype, setting in [
    ("scripts/benchmark_probe.py", "chronos-2-random", FORECAST["dtype"], "repeats"),
    ("scripts/benchmark_scale.py", "nano-random", "float32", "scale"),
]:
    measured = Path(measuring).stem.removeprefix("benchmark_")

    rule:
        name:
            f"benchmark_{measured}"
        input:
            weights=f"results/models/{weights}/model.safetensors",
        output:
            f"results/benchmarks/{measured}_{{device}}.csv",
        log:
            f"results/logs/benchmark_{measured}/{{device}}.log",
        conda:
            "../../envs/environment.yaml"
        threads: config["forecast"]["threads"]
        resources:
            gpu=1,
        params:
            **{setting: config["benchmark"][setting]},
            forecast={key: FORECAST[key] for key in ("seed", "batch_size")} | {"dtype": dtype},
        script:
            f"../../{measuring}"


# How often tests and intervals are right where the truth is known: the table of docs/method.md.
rule benchmark_statistics:
    output:
        "results/benchmarks/statistics.csv",
    log:
        "results/logs/benchmark_statistics.log",
    conda:
        "../../envs/environment.yaml"
    params:
        simulations=config["benchmark"]["simulations"],
        statistics=config["statistics"],
        seed=FORECAST["seed"],
    script:
        "../../scripts/benchmark_statistics.py"
