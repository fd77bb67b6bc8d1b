"""The picture of the rules: read from Snakemake, laid out without overlaps."""

import itertools

import networkx as nx
import pytest

from study.report.rulegraph import draw, heights, layers, read_dot

DOT = """digraph snakemake_dag {
    graph[bgcolor=white, margin=0];
    0[label = "all", color = "0.04 0.6 0.85", style="rounded"];
    1[label = "score", color = "0.41 0.6 0.85", style="rounded"];
    2[label = "forecast", color = "0.11 0.6 0.85", style="rounded"];
    3[label = "fetch_dataset", color = "0.2 0.6 0.85", style="rounded"];
    4[label = "ttest", color = "0.2 0.6 0.85", style="rounded"];
    1 -> 0
    4 -> 0
    1 -> 4
    2 -> 1
    3 -> 2
    3 -> 1
}
"""


def test_edges_are_those_of_snakemake_without_detours_and_targets():
    graph = read_dot(DOT)
    assert set(graph.edges) == {
        ("fetch_dataset", "forecast"), ("forecast", "score"), ("score", "ttest"),
    }  # fmt: skip


def wide_graph():
    """Rules with edges over several columns, and columns of several rules."""
    chain = ["a", "b", "c", "d", "e"]
    edges = [*itertools.pairwise(chain), ("x", "y"), ("y", "e"), ("x", "z"), ("a", "w"), ("w", "e")]
    return nx.DiGraph(edges)


def test_a_rule_stands_right_of_what_it_needs_and_nothing_overlaps():
    graph = wide_graph()
    columns, stepped = layers(graph)
    column_of = {name: index for index, column in enumerate(columns) for name in column}
    assert set(graph) <= set(column_of)
    assert all(column_of[start] < column_of[end] for start, end in graph.edges)
    assert all(column_of[end] - column_of[start] == 1 for start, end in stepped.edges)
    places = heights(columns)
    for column in columns:
        for upper, lower in itertools.pairwise(column):
            assert places[lower] - places[upper] >= 0.4 - 1e-9
    for start, end in graph.edges:
        assert nx.has_path(stepped, start, end)


def test_every_rule_is_named_in_the_picture():
    figure = draw(wide_graph())
    assert {text.get_text() for text in figure.axes[0].texts} == set(wide_graph())


@pytest.mark.workflow
def test_the_picture_is_made_by_a_rule(run, tmp_path):
    done = run(tmp_path, "--cores", "1", "results/figures/rulegraph.svg")
    assert done.returncode == 0, done.stdout
    picture = (tmp_path / "results" / "figures" / "rulegraph.svg").read_text()
    assert picture.count('<path d="') > 40
    assert len(picture) < 150_000
