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
