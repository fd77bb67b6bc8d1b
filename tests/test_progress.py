"""Bars become records that parallel jobs can share a console with; logs say what was done."""

import logging
import re

import pytest
from conftest import STUDY

from study.jobs import progress as progress_module
from study.jobs.progress import Work, progress


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only where a test lets it."""

    class Clock:
        now = 100.0

        def __call__(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progress_module.time, "monotonic", clock)
    monkeypatch.setattr("tqdm.std.time", clock)
    return clock


def records(caplog):
    return [record.getMessage() for record in caplog.records if "progress" in record.name]


def test_short_work_is_silent(clock, caplog):
    caplog.set_level(logging.INFO)
    for _ in progress(range(50), desc="short"):
        clock.now += 0.01
    assert records(caplog) == []


def test_long_work_speaks_now_and_then_and_at_its_end(clock, caplog, capsys):
    caplog.set_level(logging.INFO)
    for _ in progress(range(40), desc="long", unit="task"):
        clock.now += 1.0
    found = records(caplog)
    assert 4 <= len(found) <= 6
    assert all(line.startswith("long:") and "\r" not in line for line in found)
    assert "40/40" in found[-1]
    assert capsys.readouterr() == ("", "")


def test_a_changed_postfix_does_not_make_a_record_each(clock, caplog):
    caplog.set_level(logging.INFO)
    bar = progress(total=100, desc="score")
    for index in range(100):
        bar.set_postfix_str(f"task{index}")
        clock.now += 0.2
        bar.update()
    bar.close()
    assert 2 <= len(records(caplog)) <= 4


def test_tokens_are_those_of_the_sequences():
    work = Work(patch=16)
    work.add([16, 17, 1000], horizon=20, limit=64)
    # Patches of context 1, 2 and 4, each with REG and two patches of the horizon.
    assert (work.windows, work.series, work.tokens) == (1, 3, 7 + 3 * 3)
    work.add([1], horizon=16, limit=64)
    assert str(work).startswith("2 windows, 4 series, 19 tokens in ")


@pytest.mark.workflow
@pytest.mark.parametrize(
    ("name", "backend"),
    [
        ("forecast/{}_full", "dense"),
        ("forecast/{}_sparse_r8", "banded"),
        ("probe_attention/{}", "dense"),
        ("measure_efficiency/{}_radii", "banded"),
    ],
)
def test_the_log_of_a_rule_that_computes_says_what_it_did(small, name, backend):
    text = (small / "results" / "logs" / f"{name.format(STUDY)}.log").read_text()
    (line,) = (line for line in text.splitlines() if " tokens in " in line)
    for word in ("device", "cpu", "dtype", "float32", "backend", backend):
        assert word in line
    numbers = re.search(r"(\d+) windows, (\d+) series, (\d+) tokens in [\d.]+ seconds", line)
    windows, series, tokens = map(int, numbers.groups())
    assert 0 < windows <= series < tokens
    assert " started" in text.splitlines()[0]
    assert re.search(r"finished in [\d.]+ s$", text.strip())
