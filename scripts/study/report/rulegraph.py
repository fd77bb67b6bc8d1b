"""A picture of the workflow's rules: which hands its files to which."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import networkx as nx
from matplotlib.figure import Figure

from study.report.style import BLUE, GREEN, GREY, ORANGE, STYLE

SWEEPS = 24

TARGET_RULES = ["all", "soft"]

COLOURS = {
    "fetch": GREY,
    "forecast": ORANGE,
    "probe": ORANGE,
    "measure": ORANGE,
    "plot": GREEN,
    "report": GREEN,
}


def planned_rules(snakefile: Path, targets: Sequence[str]) -> nx.DiGraph:
    """Ask Snakemake which rules it would run for some targets if nothing were there yet.

    Parameters
    ----------
    snakefile:
        The workflow.
    targets:
        Files or rules.

    Returns
    -------
    The rules by name, with an edge from a rule to each that reads its files; without the rules
    that only name targets, and without edges that a longer way implies.
    """
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "snakemake", "--snakefile", str(snakefile)),
                *("--directory", folder, "--rulegraph", "dot", "--", *targets),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
    return read_dot(done.stdout)


def read_dot(text: str) -> nx.DiGraph:
    """Read the graph that ``snakemake --rulegraph dot`` prints, see `planned_rules`."""
    names = dict(re.findall(r'^\s*(\d+)\[\s*label = "([^"\\]+)', text, flags=re.M))
    graph = nx.DiGraph()
    graph.add_nodes_from(names.values())
    for start, end in re.findall(r"^\s*(\d+) -> (\d+)", text, flags=re.M):
        if names[start] != names[end]:
            graph.add_edge(names[start], names[end])
    graph.remove_nodes_from(TARGET_RULES)
    return nx.transitive_reduction(graph)


def layers(graph: nx.DiGraph) -> tuple[list[list[str]], nx.DiGraph]:
    """Order the rules in columns, each right of all that it needs, with few crossings.

    A rule stands as far left as it can. An edge over several columns gets a waypoint in each
    between, so that it runs beside the rules there and not behind them. Within a column, rules and
    waypoints stand at the mean place of their neighbours (the barycentre heuristic of Sugiyama,
    Tagawa and Toda, 1981).

    Returns
    -------
    The names in each column from top to bottom, those of waypoints as ``start > end > column``,
    and the graph whose edges join neighbouring columns only.
    """
    columns = [sorted(column) for column in nx.topological_generations(graph)]
    column_of = {name: index for index, column in enumerate(columns) for name in column}
    stepped = nx.DiGraph()
    stepped.add_nodes_from(graph)
    for start, end in graph.edges:
        between = range(column_of[start] + 1, column_of[end])
        waypoints = [f"{start} > {end} > {index}" for index in between]
        for index, waypoint in zip(between, waypoints, strict=True):
            columns[index].append(waypoint)
        nx.add_path(stepped, [start, *waypoints, end])
    for sweep in range(SWEEPS):
        forward = sweep % 2 == 0
        for index in range(len(columns)) if forward else reversed(range(len(columns))):
            place = heights(columns)

            def centre(name: str, place=place, forward=forward) -> float:
                near = list(stepped.predecessors(name) if forward else stepped.successors(name))
                return sum(place[other] for other in near) / len(near) if near else place[name]

            columns[index].sort(key=centre)
    return columns, stepped


def heights(columns: Sequence[Sequence[str]]) -> dict[str, float]:
    """Return how far down each name stands, from the middle; a waypoint needs less than a rule."""
    places = {}
    for column in columns:
        sizes = [0.4 if ">" in name else 1.0 for name in column]
        at = -sum(sizes) / 2
        for name, size in zip(column, sizes, strict=True):
            places[name] = at + size / 2
            at += size
    return places


def draw(graph: nx.DiGraph) -> Figure:
    """Draw the rules from left to right, a box each; colours tell fetching, model and pictures."""
    columns, stepped = layers(graph)
    down = heights(columns)
    places = {name: (index, -down[name]) for index, column in enumerate(columns) for name in column}
    reach = max(abs(y) for _, y in places.values()) + 0.5
    half = 0.42
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.26 * len(columns), 0.92 * reach + 0.1))
        axis = figure.add_axes((0.005, 0.01, 0.99, 0.98))
        axis.set_axis_off()
        axis.set_xlim(-0.5, len(columns) - 0.5)
        axis.set_ylim(-reach, reach)
        for start, end in stepped.edges:
            (x, y), (u, v) = places[start], places[end]
            curve = [(x + half, y), (x + 0.62, y), (u - 0.62, v), (u - half, v)]
            points, codes = list(curve), [1, 4, 4, 4]
            if ">" in end:  # straight on, through the column of the waypoint
                points, codes = [*points, (u + half, v)], [*codes, 2]
            axis.add_patch(
                mpl.patches.PathPatch(
                    mpl.path.Path(points, codes), facecolor="none", edgecolor=GREY, lw=0.9, zorder=1
                )
            )
        for name in graph:
            x, y = places[name]
            axis.text(
                *(x, y, textwrap.fill(name.replace("_", " "), 14)),
                **{"ha": "center", "va": "center", "fontsize": 8.5, "zorder": 3},
                linespacing=1.0,
            )
            axis.add_patch(
                mpl.patches.FancyBboxPatch(
                    (x - half, y - 0.38),
                    2 * half,
                    0.76,
                    boxstyle="round,pad=0,rounding_size=0.08",
                    facecolor="white",
                    edgecolor=COLOURS.get(name.partition("_")[0], BLUE),
                    lw=1.6,
                    zorder=2,
                )
            )
        return figure
