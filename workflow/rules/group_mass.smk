# How much group attention a soft mask, or `joint`, sends to series of other groups.

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


use rule probe_groups as probe_groups_soft with:
    output:
        [f"results/group_mass/{{study}}_{variant}.csv" for variant in SOFT_FAMILY],
    log:
        "results/logs/probe_groups/{study}_soft_{measure}_t{temperature}.log",
    benchmark:
        "results/benchmarks/probe_groups/{study}_soft_{measure}_t{temperature}.tsv"
    # Many of these run beside each other: one thread each keeps more cores busy.
    threads: 1
    params:
        **GROUP_PARAMS,
        variants=lambda wildcards: [variant.format(**wildcards) for variant in SOFT_FAMILY],


ruleorder: probe_groups_soft > probe_groups
