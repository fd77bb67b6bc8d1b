# Where attention goes: that of time by distance, over which gate 4 decides, and that of groups.


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
        **{"study": study_of, "forecast": FORECAST, "mass": config["mass"]},
    script:
        "../../scripts/probe_attention.py"


# How much group attention a soft mask, or `joint`, sends to series of other groups.

for suffix, (folder, job, variants) in TOGETHER.items():

    rule:
        name:
            f"probe_groups{suffix}"
        input:
            unpack(inputs_of_model),
        output:
            [f"results/group_mass/{folder}{{study}}_{variant}.csv" for variant in variants],
        log:
            f"results/logs/probe_groups/{{study}}_{job}.log",
        benchmark:
            f"results/benchmarks/probe_groups/{{study}}_{job}.tsv"
        conda:
            "../../envs/environment.yaml"
        threads: 1 if suffix else config["forecast"]["threads"]
        resources:
            gpu=1,
        params:
            **FORECAST_PARAMS,
            windows_per_task=SOFT["mass_windows_per_task"],
            variants=named(variants),
        script:
            "../../scripts/probe_groups.py"


ruleorder: probe_groups_soft > probe_groups
