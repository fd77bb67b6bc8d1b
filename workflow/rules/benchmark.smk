# Speed of the attention engine; needs no download. Not part of rule `all`.


def benchmark_data(kind):
    """Real series: of the mirror where there is one, else of the demonstration."""
    mirrored = {
        "short": [
            "monash_m3_quarterly",
            "monash_m3_yearly",
            "monash_tourism_quarterly",
            "monash_hospital",
        ],
        "long": ["m4_hourly"],
    }
    shipped = {"short": ["prison", "visnights", "arrivals", "us_macro"], "long": ["nyc_weather"]}
    return [
        f"results/data/{dataset}.parquet" for dataset in (mirrored if MIRROR else shipped)[kind]
    ]


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
        **config["benchmark"],
        dtype=config["forecast"]["dtype"],
        seed=config["forecast"]["seed"],
    script:
        "../../scripts/benchmark_attention.py"
