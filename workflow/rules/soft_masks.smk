# Study 1: soft group masks, their controls, and what their gain is worth.

from study.soft_masks.sweep import sweep_variants, with_controls

SOFT_SETTINGS = config["soft"]
SWEEP = sweep_variants(
    SOFT_SETTINGS["measures"], SOFT_SETTINGS["temperatures"], SOFT_SETTINGS["controls"]
)
SOFT_TABLES = ["summary", "by_feature", "by_horizon", "by_sample_size", "smoothing", "verdicts"]
SOFT_PARAMS = {
    "controls": SOFT_SETTINGS["controls"],
    "alpha": config["statistics"]["alpha"],
    "tost_margin": config["statistics"]["tost_margin"],
    "config_dir": str(CONFIG_DIR),
    "only": config["only"],
    "tasks": tasks_of,
}
SOFT_INPUTS = {
    "validity": "results/{study}_validity.csv",
    "accuracy_full": "results/accuracy/{study}_full.csv",
    "accuracy_seasonal_naive": "results/accuracy/{study}_seasonal_naive.csv",
    "scores_full": "results/scores/{study}_full.parquet",
    "forecasts_full": "results/forecasts/{study}_full.parquet",
    "similarity": f"results/similarity/{{study}}_{SOFT_SETTINGS['measures'][0]}.parquet",
}


rule soft_statistics:
    input:
        **SOFT_INPUTS,
        data=data_of,
        scores=expand("results/scores/{{study}}_{variant}.parquet", variant=SWEEP),
        forecasts=expand("results/forecasts/{{study}}_{variant}.parquet", variant=SWEEP),
        masses=expand("results/group_mass/{{study}}_{variant}.csv", variant=SWEEP),
    output:
        **{table: f"results/{{study}}_soft_{table}.csv" for table in SOFT_TABLES},
        page="results/{study}_soft_verdicts.md",
    log:
        "results/logs/soft_statistics/{study}.log",
    benchmark:
        "results/benchmarks/soft_statistics/{study}.tsv"
    conda:
        "../../envs/environment.yaml"
    params:
        **SOFT_PARAMS,
        variants=SWEEP,
        resamples=SOFT_SETTINGS["resamples"],
        seed=config["forecast"]["seed"],
    script:
        "../../scripts/soft_statistics.py"


rule soft_ttest:
    input:
        **SOFT_INPUTS,
        scores=lambda wildcards: expand(
            "results/scores/{study}_{variant}.parquet",
            study=wildcards.study,
            variant=with_controls(f"soft_{wildcards.soft}", SOFT_SETTINGS["controls"]),
        ),
        forecasts=lambda wildcards: expand(
            "results/forecasts/{study}_{variant}.parquet",
            study=wildcards.study,
            variant=with_controls(f"soft_{wildcards.soft}", SOFT_SETTINGS["controls"]),
        ),
        masses=lambda wildcards: expand(
            "results/group_mass/{study}_{variant}.csv",
            study=wildcards.study,
            variant=with_controls(f"soft_{wildcards.soft}", SOFT_SETTINGS["controls"]),
        ),
    output:
        "results/{study}_soft_ttest_{soft}.csv",
    log:
        "results/logs/soft_ttest/{study}_{soft}.log",
    wildcard_constraints:
        soft=r"[a-z]+(?:-[a-z]+)?_t[0-9.]+",
    conda:
        "../../envs/environment.yaml"
    params:
        **SOFT_PARAMS,
        variants=lambda wildcards: with_controls(
            f"soft_{wildcards.soft}", SOFT_SETTINGS["controls"]
        ),
    script:
        "../../scripts/soft_ttest.py"


rule prior_soft:
    input:
        prior=str(CONFIG_DIR / "reference" / "prior_cbii_soft_vs_hard.csv"),
        published=str(CONFIG_DIR / "reference" / "published_cbii_seasonal_naive.csv"),
    output:
        "results/prior_soft.csv",
    log:
        "results/logs/prior_soft.log",
    conda:
        "../../envs/environment.yaml"
    params:
        alpha=config["statistics"]["alpha"],
        tost_margin=config["statistics"]["tost_margin"],
    script:
        "../../scripts/prior_soft.py"
