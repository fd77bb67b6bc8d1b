# Where time attention goes: its mass by distance, over which gate 4 decides.


rule probe_attention:
    input:
        data=data_of,
        weights=weights_of,
    output:
        heads="results/mass/{study}_heads.parquet",
        layers="results/mass/{study}_layers.parquet",
        per_window="results/{study}_mass_per_window.csv",
        summary="results/{study}_mass_summary.csv",
    log:
        "results/logs/probe_attention/{study}.log",
    benchmark:
        "results/benchmarks/probe_attention/{study}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: config["forecast"]["threads"]
    resources:
        gpu=1,
    params:
        **{key: config["forecast"][key] for key in FORECAST_KEYS},
        **config["mass"],
        config_dir=str(CONFIG_DIR),
        only=config["only"],
        tasks=tasks_of,
        datasets=datasets_of,
    script:
        "../../scripts/probe_attention.py"


rule benchmark_probe:
    input:
        weights="results/models/chronos-2-random/model.safetensors",
    output:
        "results/benchmarks/probe_{device}.csv",
    log:
        "results/logs/benchmark_probe/{device}.log",
    wildcard_constraints:
        device=r"cpu|cuda(?::\d+)?",
    conda:
        "../../envs/environment.yaml"
    threads: config["forecast"]["threads"]
    resources:
        gpu=1,
    params:
        dtype=config["forecast"]["dtype"],
        seed=config["forecast"]["seed"],
        repeats=config["benchmark"]["repeats"],
        batch_size=4,
        num_patches=512,
        num_future=4,
    script:
        "../../scripts/benchmark_probe.py"
