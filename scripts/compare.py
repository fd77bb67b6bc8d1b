"""Put accuracy, speed and memory of a variant beside the baseline's, task by task."""

import pandas as pd

from chronos2_attention import AttentionVariant
from study.files import atomic_path
from study.runtime import rule_script
from study.statistics import compare_tasks

with rule_script(snakemake):
    variant = AttentionVariant.parse(f"sparse_r{snakemake.params.radius}")
    table = compare_tasks(
        pd.read_csv(snakemake.input.full),
        pd.read_csv(snakemake.input.variant),
        setting={"radius": variant.radius},
    )
    with atomic_path(snakemake.output[0]) as path:
        table.to_csv(path, index=False)
