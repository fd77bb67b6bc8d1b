"""Make the report's pages on sparse time attention: verdicts first, then each table."""

from study.jobs.files import atomic_path, read_results
from study.jobs.script import rule_script
from study.report import columns as columns
from study.report import pages as tables

with rule_script(snakemake) as log:
    inputs, study = snakemake.input, snakemake.wildcards.study
    validity, summary = read_results(inputs.validity), read_results(inputs.radius_summary)
    shown = {
        "validity": ("every gate", inputs.validity, None),
        "radius_summary": ("tests by radius", inputs.radius_summary, columns.RADIUS_COLUMNS),
        "perf_compare": ("each task and radius", inputs.perf_compare, columns.COMPARE_COLUMNS),
        "perf": ("each task and method", inputs.perf, columns.PERF_COLUMNS),
        "mass_summary": ("attention mass", inputs.mass_summary, columns.MASS_SUMMARY_COLUMNS),
        "mass_per_window": (
            "attention mass of each window", inputs.mass_per_window, columns.MASS_COLUMNS
        ),
    }  # fmt: skip
    pages = {
        "verdicts": tables.verdict_page(study, validity, summary, inputs.radius_summary),
        **{
            name: tables.table_page(
                title,
                tables.read_tables(paths),
                tables.name_files(paths),
                study=study,
                validity=validity,
                columns=chosen,
            )
            for name, (title, paths, chosen) in shown.items()
        },
    }
    for name, text in pages.items():
        with atomic_path(snakemake.output[name]) as path:
            path.write_text(text, encoding="utf-8")
    log.info("%d pages", len(pages))
