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


# How much group attention a soft mask, or `joint`, sends to series of other groups.

from study.soft_masks.sweep import JOINT, sweep_variants

GROUP_PARAMS = {**FORECAST_PARAMS, "windows_per_task": config["soft"]["mass_windows_per_task"]}


rule probe_groups:
    input:
        data=data_of,
        weights=weights_of,
        model=model_sidecar_of,
        similarity=similarity_of,
    output:
        "results/group_mass/{study}_{variant}.csv",
    log:
        "results/logs/probe_groups/{study}_{variant}.log",
    benchmark:
        "results/benchmarks/probe_groups/{study}_{variant}.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: config["forecast"]["threads"]
    resources:
        gpu=1,
    params:
        **GROUP_PARAMS,
        variants=lambda wildcards: [wildcards.variant],
    script:
        "../../scripts/probe_groups.py"


# One process for all soft masks of a measure in the sweep: starting costs more than measuring.
SWEPT = [
    variant.replace(MEASURES[0], "{measure}")
    for variant in sweep_variants(
        MEASURES[:1], config["soft"]["temperatures"], config["soft"]["controls"]
    )
    if variant != JOINT
]


use rule probe_groups as probe_groups_soft with:
    output:
        [f"results/group_mass/{{study}}_{variant}.csv" for variant in SWEPT],
    log:
        "results/logs/probe_groups/{study}_soft_{measure}.log",
    benchmark:
        "results/benchmarks/probe_groups/{study}_soft_{measure}.tsv"
    threads: 1
    params:
        **GROUP_PARAMS,
        variants=lambda wildcards: [variant.format(**wildcards) for variant in SWEPT],


ruleorder: probe_groups_soft > probe_groups
