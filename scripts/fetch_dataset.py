"""Fetch data sets, bring each to the one layout, check it, and write down where it came from."""

from chronos2_attention.errors import quote
from study.data import download
from study.data.fetch import fetch, write_dataset
from study.jobs.script import rule_script

with rule_script(snakemake) as log:
    download.LIMITS = download.Limits(**snakemake.config["network"])
    for spec, path in zip(snakemake.params.spec, snakemake.output.data, strict=True):
        table, provenance = fetch(spec, mirror=snakemake.config["mirror"])
        write_dataset(table, provenance, path)
        log.info("%s: %d series from %s", spec.name, table.num_rows, provenance["source"])
        if left_out := provenance.get("rows_left_out"):
            log.info("%d rows lie in steps that are not whole and were left out", left_out)
        if zone := provenance.get("time_zone"):
            log.info("times of %s became %s", zone, provenance["times"])
        if columns := provenance.get("columns_left_out"):
            log.info("columns left out, which are no lists of numbers: %s", quote(columns))
