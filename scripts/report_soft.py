"""Make the report's pages on soft group masks: verdicts first, then each table."""

from study.jobs.files import atomic_path, read_results
from study.jobs.script import rule_script
from study.report import columns as columns
from study.report import pages as tables

with rule_script(snakemake) as log:
    inputs, study = snakemake.input, snakemake.wildcards.study
    validity = read_results(inputs.validity)
    shown = {
        "summary": ("every soft mask", columns.SOFT_SUMMARY_COLUMNS),
        "by_feature": ("gain by feature", columns.SOFT_GAIN_COLUMNS),
        "by_horizon": ("gain by step of the horizon", columns.SOFT_GAIN_COLUMNS),
        "by_sample_size": ("gain by sample size", columns.SOFT_GAIN_COLUMNS),
        "smoothing": ("soft masks against smoothing", columns.SOFT_SMOOTHING_COLUMNS),
    }
    pages = {
        "verdicts": tables.soft_verdict_page(
            study, validity, read_results(inputs.verdicts), inputs.verdicts
        ),
        **{
            name: tables.table_page(
                title,
                read_results(inputs[name]),
                inputs[name],
                study=study,
                validity=validity,
                columns=chosen,
            )
            for name, (title, chosen) in shown.items()
        },
    }
    for name, text in pages.items():
        with atomic_path(snakemake.output[name]) as path:
            path.write_text(text, encoding="utf-8")
    log.info("%d pages", len(pages))
