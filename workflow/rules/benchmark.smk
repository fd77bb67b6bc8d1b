# Speed of the attention engine; needs no download. Not part of rule `all`.


rule benchmark_attention:
    input:
        weights="results/models/chronos-2-random/model.safetensors",
        short=benchmark_data("short"),
        long=benchmark_data("long"),
    output:
        "results/benchmarks/attention_{device}.csv",
    log:
        "results/logs/benchmark_attention/{device}.log",
    wildcard_constraints:
        device=r"cpu|cuda(?::\d+)?",
    conda:
        "../../envs/environment.yaml"
    threads: config["forecast"]["threads"]
    resources:
        gpu=1,
    params:
        **{key: value for key, value in config["benchmark"].items() if key != "scale"},
        dtype=config["forecast"]["dtype"],
        seed=config["forecast"]["seed"],
    script:
        "../../scripts/benchmark_attention.py"


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
