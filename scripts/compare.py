"""Put accuracy, speed and memory of a variant beside the baseline's, task by task."""

from chronos2_attention import AttentionVariant
from study.evaluation.comparison import compare_tasks, with_timings
from study.jobs.files import atomic_path, read_results
from study.jobs.script import rule_script

with rule_script(snakemake):
    inputs = snakemake.input
    variant = AttentionVariant.parse(f"sparse_r{snakemake.params.radius}")
    # One run timed both: only then is their ratio a speedup.
    timed = read_results(inputs.efficiency)
    table = compare_tasks(
        with_timings(read_results(inputs.accuracy_full), timed, "full"),
        with_timings(read_results(inputs.accuracy_variant), timed, variant.name),
        setting={"radius": variant.radius},
    )
    with atomic_path(snakemake.output[0]) as path:
        table.to_csv(path, index=False)
