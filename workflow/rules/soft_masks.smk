# Study 1: soft group masks, their controls, and what their gain is worth.

SOFT_TABLES = ["summary", "by_feature", "by_horizon", "by_sample_size", "smoothing", "verdicts"]
SOFT_PARAMS = {
    "study": study_of,
    **TESTED_BY,
    "controls": SOFT["controls"],
    "invented": invented_of,
}
SOFT_INPUTS = {
    "data": data_of,
    "validity": "results/{study}_validity.csv",
    "scores_full": "results/scores/{study}_full.parquet",
    "forecasts_full": "results/forecasts/{study}_full.parquet",
    "similarity": f"results/similarity/{{study}}_{SOFT['measures'][0]}.parquet",
    # One of the others must gain over `full` where there is something to find.
    "mechanism": lambda wildcards: [
        f"results/accuracy/{proof_of(wildcards)}_{method}.csv"
        for method in ["full", JOINT, "soft_correlation_t20"]
    ],
    "leaders": lambda wildcards: f"results/group_mass/{proof_of(wildcards)}_{JOINT}.csv",
}


rule shuffles:
    input:
        unpack(inputs_of_model),
        scores="results/scores/{study}_full.parquet",
        masks=lambda w: files_of(w, shuffled(w), w.mask == "sweep")["scores"],
    output:
        "results/shuffles/{study}_soft_{measure}_{mask}.csv",
    log:
        "results/logs/shuffles/{study}_soft_{measure}_{mask}.log",
    conda:
        "../../envs/environment.yaml"
    resources:
        gpu=1,
    params:
        **FORECAST_PARAMS,
        clusters=clusters_of,
        shuffles=SOFT["shuffles"],
        variants=shuffled,
    script:
        "../../scripts/shuffles.py"


rule soft_statistics:
    input:
        unpack(files_of_tested),
        **SOFT_INPUTS,
    output:
        **{table: f"results/{{study}}_soft_{table}.csv" for table in SOFT_TABLES},
        page="results/{study}_soft_verdicts.md",
        gates="results/{study}_soft_gates.csv",
    log:
        "results/logs/soft_statistics/{study}.log",
    benchmark:
        "results/benchmarks/soft_statistics/{study}.tsv"
    conda:
        "../../envs/environment.yaml"
    params:
        **SOFT_PARAMS,
        variants=tested,
        samples={"resamples": SOFT["resamples"], "seed": FORECAST["seed"]},
    script:
        "../../scripts/soft_statistics.py"


# The row of one soft mask, whether or not it is in the sweep.
use rule soft_statistics as soft_ttest with:
    output:
        "results/{study}_soft_ttest_{soft}.csv",
    log:
        "results/logs/soft_ttest/{study}_{soft}.log",
    benchmark:
        "results/benchmarks/soft_ttest/{study}_{soft}.tsv"
    params:
        **SOFT_PARAMS,
        variants=tested,


# What group attention is worth: each target alone, whole items, all items, and what is between.
BETWEEN = config["group_value"]["variants"]
GROUP_VALUE = [*LADDER, *(n for v in BETWEEN for n in with_controls(v, SOFT["controls"]))]


rule group_value:
    input:
        **{gate: SOFT_INPUTS[gate] for gate in ["validity", "mechanism", "leaders"]},
        scores=[f"results/scores/{{study}}_{variant}.parquet" for variant in GROUP_VALUE],
    output:
        table="results/{study}_group_value.csv",
        gates="results/{study}_group_gates.csv",
    log:
        "results/logs/group_value/{study}.log",
    conda:
        "../../envs/environment.yaml"
    params:
        **SOFT_PARAMS,
        scored=GROUP_VALUE,
        variants=BETWEEN,
    script:
        "../../scripts/group_value.py"
