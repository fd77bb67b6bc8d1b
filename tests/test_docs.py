"""The pages for the next researcher run as they stand: files, commands, and what these print."""

import re
import subprocess
import sys

import pytest
from conftest import REPO_ROOT
from test_readme import call_of, copy_of_repository, lines_of

# In need of the hub, and of a GPU where time matters: planned only.
PLANNED = {
    "new_variant": "results/cbii_ttest_r1_season3.csv",
    "cross_learning": "results/shops@chronos-2_group_value.csv",
}

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.S | re.M)
FILE = re.compile(r"# ([\w./]+\.\w+)(, at its end)?\n")


def ran(call, folder):
    done = subprocess.run(
        call, cwd=folder, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def compare(printed, shown):
    """Words are the same; processors differ in the last digits of what is no whole number."""
    found, wanted = (re.split(r"[\s():;%]+", text.strip()) for text in (printed, shown))
    assert len(found) == len(wanted), printed
    for one, other in zip(found, wanted, strict=True):
        if re.fullmatch(r"[-+]?\d+\.\d+", other):
            digits = len(other.partition(".")[2])
            assert float(one) == pytest.approx(float(other), abs=3 * 10**-digits), printed
        else:
            assert one == other, printed


@pytest.mark.workflow
@pytest.mark.parametrize("page", PLANNED)
def test_a_page_runs_from_top_to_bottom(page, tmp_path):
    folder = copy_of_repository(tmp_path / "repository")
    # Of the 16 draws on which group attention must be seen to work, as many as a p value takes.
    suite = folder / "config/suites/leading_factor.yaml"
    suite.write_text("".join(re.split(r"(?=^  - )", suite.read_text(), flags=re.M)[:7]))
    printed, planned = "", 0
    for kind, text in BLOCK.findall((REPO_ROOT / f"docs/{page}.md").read_text(encoding="utf-8")):
        if kind == "text":
            compare(printed, text)
        elif named := FILE.match(text):
            with open(folder / named[1], "a" if named[2] else "x", encoding="utf-8") as file:
                file.write(text[named.end() :])
        elif kind == "python":
            printed = ran([sys.executable, "-c", text], folder)
        for line in lines_of(text) if kind == "sh" else []:
            dry = ["--dry-run"] * line.endswith(PLANNED[page])
            planned += len(dry)
            printed = ran(call_of(line, folder, *dry), folder)
    assert planned == 1
