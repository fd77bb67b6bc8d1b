"""The graph of the rules in docs/files.md is that of the workflow."""

import runpy

import pytest
from conftest import REPO_ROOT

RULEGRAPH = runpy.run_path(str(REPO_ROOT / "docs" / "rulegraph.py"))
MERMAID = """flowchart TB
\tid0[all]
\tid1[score]
\tid2[forecast]
\tid3[fetch_dataset]
\tid4[ttest]
\tstyle id0 fill:#578BD9,stroke-width:2px,color:#333333
\tid1 --> id0
\tid4 --> id0
\tid1 --> id4
\tid2 --> id1
\tid3 --> id2
\tid3 --> id1
\tid1 --> id1
"""


def test_edges_are_those_of_snakemake_without_detours_and_targets():
    edges = RULEGRAPH["edges_of"](MERMAID)
    detour = ("fetch_dataset", "score")
    straight = {("fetch_dataset", "forecast"), ("forecast", "score"), ("score", "ttest")}
    assert edges == {*straight, detour}
    assert RULEGRAPH["without_detours"](edges) == straight


@pytest.mark.workflow
def test_the_graph_in_the_docs_is_of_these_rules():
    block = RULEGRAPH["block"]()
    assert "    forecast --> score" in block
    assert block in RULEGRAPH["PAGE"].read_text(encoding="utf-8"), "run `make rulegraph`"
