# The embedded checkpoint, trained from scratch on synthetic series. Studies read resources/models/nano,
# into which a maintainer copies the three files of a good training.

PRETRAINED = {"config": "config.json", "weights": "model.safetensors", "card": "README.md"}
PRETRAINED["losses"] = "loss.csv"


rule pretrain:
    output:
        **{part: f"results/pretrain/nano/{name}" for part, name in PRETRAINED.items()},
    log:
        "results/logs/pretrain.log",
    benchmark:
        "results/benchmarks/pretrain.tsv"
    conda:
        "../../envs/environment.yaml"
    threads: 2
    resources:
        gpu=1,
    params:
        settings=[KnownFile.at(CONFIG_DIR / "pretrain.yaml")],
        steps=config.get("pretrain_steps"),
        checkpoints=lambda wildcards, output: f"{Path(output.weights).parent}.checkpoint",
    script:
        "../../scripts/pretrain.py"
