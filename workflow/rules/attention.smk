# Where attention goes: that of time by distance, over which gate 4 decides, and that of groups.


MASS_PARAMS = {"study": study_of, "forecast": FORECAST, "mass": config["mass"]}


rule probe_attention:
    input:
        unpack(data_and_weights_of),
    output:
        **{part: f"results/mass/{{study}}_{part}.parquet" for part in ["heads", "layers"]},
        **{table: f"results/{{study}}_mass_{table}.csv" for table in ["per_window", "summary"]},
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
        **MASS_PARAMS,
    script:
        "../../scripts/probe_attention.py"


# How much group attention a soft mask, or `joint`, sends to series of other groups.

GROUP_PARAMS = {**FORECAST_PARAMS, "windows_per_task": config["soft"]["mass_windows_per_task"]}


rule probe_groups:
    input:
        unpack(inputs_of_model),
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
