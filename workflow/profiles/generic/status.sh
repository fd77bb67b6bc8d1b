#!/usr/bin/env bash
# State of a Grid Engine job, in the words that Snakemake's generic executor expects.
set -uo pipefail

if qstat -j "$1" >/dev/null 2>&1; then
    echo running
    exit
fi
# The job has left the queue; its record may come some seconds later.
if ! record=$(qacct -j "$1" 2>/dev/null); then
    echo running
    exit
fi
failed=$(awk '$1 == "failed" {print $2}' <<<"$record" | tail -n 1)
status=$(awk '$1 == "exit_status" {print $2}' <<<"$record" | tail -n 1)
if [[ $failed == 0 && $status == 0 ]]; then echo success; else echo failed; fi
