"""Documents spoilt at random, and what is asked of the code that reads them."""

from __future__ import annotations

import copy
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

from chronos2_attention.errors import InputError

SECONDS, BYTES = 5, 10**9
LONGEST_LINE = 950  # the three parts of a message at their longest, see `errors.LONGEST`

VALUES = [
    *(None, True, False, "", " ", "x", "8", "nan", "null", "a\nb", "\x1b[31m", "x" * 50_000),
    *(0, 1, -1, 8.0, 0.5, 1e308, -1e308, 1e-300, 2**31, 2**63, 10**30, 10**400, 10_000_000),
    *(float("nan"), float("inf"), -float("inf")),
    *([], {}, [None], [[]], [8, 8], ["x"] * 50, {"x": 1}, {"": {}}, [{"a": [1, {"b": None}]}]),
]
KEYS = ["x", "", "name", "x" * 50_000, "a b", "../x", "ä"]
LINES = [
    *(
        "? [a]\n: b",
        "x: ]",
        "\t",
        "- x",
        "x: &a [*a]",
        "<<: 3",
        "<<: *none",
        "x: !!int y",
        "...",
        "---",
    ),
    *("x: !!python/object/apply:os.system [true]", "1: 2", "null: 3", "x: 2020-13-45", "x: 1_0:99"),
    *("[" * 5000, "- " * 500 + "x", "x: " + "9" * 5000, "x: 0x" + "f" * 5000, "\x00", "{", "%"),
    "---",
]


def places(document: Any, path: tuple = ()) -> Iterator[tuple]:
    """Yield the path of every value in a document, its own first."""
    yield path
    if isinstance(document, dict):
        for key, value in document.items():
            yield from places(value, (*path, key))
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from places(value, (*path, index))


@st.composite
def spoilt(draw, document: Any) -> Any:
    """Draw a document with one to three places deleted, retyped, renamed, doubled or nested."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(places(document))))
        if not path:
            continue
        *outer, last = path
        parent = document
        for step in outer:
            parent = parent[step]
        change = draw(st.sampled_from(["delete", "retype", "rename", "double", "nest"]))
        if change == "delete":
            del parent[last]
        elif change == "retype":
            parent[last] = copy.deepcopy(draw(st.sampled_from(VALUES)))
        elif change == "nest":
            parent[last] = draw(st.sampled_from([[parent[last]], {"x": parent[last]}]))
        elif isinstance(parent, list):
            parent.insert(last, copy.deepcopy(parent[last]))
        else:
            key = draw(st.sampled_from(KEYS))
            parent[key] = parent.pop(last) if change == "rename" else copy.deepcopy(parent[last])
    return document


@st.composite
def spoilt_yaml(draw, document: Any) -> str:
    """Draw the text of a document with places spoilt, or with lines doubled, cut or put in."""
    if draw(st.booleans()):
        return yaml.safe_dump(draw(spoilt(document)), sort_keys=False)
    lines = yaml.safe_dump(document, sort_keys=False).splitlines()
    for _ in range(draw(st.integers(1, 3))):
        index = draw(st.integers(0, len(lines) - 1))
        line = draw(
            st.sampled_from([None, lines[index], lines[index][:-2], " " + lines[index], *LINES])
        )
        lines[index : index + draw(st.integers(0, 1))] = [] if line is None else [line]
        lines = lines or [""]
    return "\n".join(lines)


def works_or_says_why(read: Callable[[], Any]) -> Any:
    """Return what `read` returns, or None if it raises an `InputError` of one short line."""
    started = time.monotonic()
    found, fault = None, None
    try:
        found = read()
    except InputError as error:
        fault = error
    assert time.monotonic() - started < SECONDS
    if fault is not None:
        text = str(fault)
        assert text.isprintable(), text
        assert len(text) <= LONGEST_LINE, text
        assert fault.what, text
        assert fault.mend, text
    return found


@contextmanager
def little_memory() -> Iterator[None]:
    """Let the block take a gigabyte of addresses more than are taken already, and no more."""
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
