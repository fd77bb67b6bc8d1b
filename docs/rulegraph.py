"""Write the graph of the workflow's rules into docs/files.md; `make rulegraph` runs this."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "files.md"
BLOCK = re.compile(r"```mermaid\n.*?```", flags=re.S)
TARGETS = ["all", "soft", "results/report/demo_group_verdicts.html"]


def edges_of(mermaid: str) -> set[tuple[str, str]]:
    """Read from what Snakemake prints which rule hands its files to which, by name."""
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", mermaid))
    pairs = re.findall(r"(id\d+) --> (id\d+)", mermaid)
    found = {(names[start], names[end]) for start, end in pairs if names[end] not in TARGETS}
    return {(start, end) for start, end in found if start != end}


def without_detours(edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Leave out edges that a longer way implies."""

    def reached(start: str) -> set[str]:
        after = {end for first, end in edges if first == start}
        return after.union(*map(reached, after))

    implied = {
        start: set().union(*(reached(end) for first, end in edges if first == start))
        for start, _ in edges
    }
    return {(start, end) for start, end in edges if end not in implied[start]}


def block() -> str:
    """Ask Snakemake for its rules if nothing were there yet; return the page's block."""
    call = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow" / "Snakefile")]
    with tempfile.TemporaryDirectory() as folder:
        options = ["--directory", folder, "--rulegraph", "mermaid-js", "--", *TARGETS]
        done = subprocess.run([*call, *options], capture_output=True, text=True, check=True)
    edges = sorted(without_detours(edges_of(done.stdout)))
    lines = [f"    {start} --> {end}" for start, end in edges]
    return "\n".join(["```mermaid", "flowchart LR", *lines, "```"])


if __name__ == "__main__":
    PAGE.write_text(BLOCK.sub(block(), PAGE.read_text(encoding="utf-8")), encoding="utf-8")
