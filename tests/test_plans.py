"""Plans decide what they named before the run, and nothing else."""

import pandas as pd
import pytest
import yaml

from chronos2_attention import InputError
from study.config.plans import load_plans, with_plan

PLAN = {
    "study": "demo", "variant": "sparse_r8", "metric": "MASE", "margin": 0.01, "n": 29, "seed": 0,
}  # fmt: skip
SETTINGS = {"margin": 0.01, "seed": 0}


def plans(folder, study="demo", settings=None, **changed):
    (folder / "window.yaml").write_text(yaml.safe_dump(PLAN | changed))
    return load_plans(folder, study, **{**SETTINGS, **(settings or {})})


def test_a_plan_is_known_by_its_name_metric_and_hash(tmp_path):
    (one,), (other,) = plans(tmp_path), plans(tmp_path, n=28)
    name, metric, digest = one.split(":")
    assert (name, metric, len(digest)) == ("window", "MASE", 12)
    assert one != other


@pytest.mark.parametrize(
    "changed", [{"study": "cbii"}, {"settings": {"margin": 0.02}}, {"settings": {"seed": 1}}]
)
def test_other_settings_than_planned_decide_nothing(tmp_path, changed):
    assert plans(tmp_path, **changed) == {}


def test_only_the_planned_row_is_decided(tmp_path):
    found = plans(tmp_path)
    rows = pd.DataFrame({"variant": ["sparse_r8", "sparse_r8", "sparse_r32"], "n": [29, 28, 29]})
    assert with_plan(rows, found)["plan"].tolist() == [*found, "exploratory", "exploratory"]
    ladder = rows.assign(variant="full", n=29, baseline=["univariate", "full", "univariate"])
    ladder = ladder.assign(metric=["SQL", "SQL", "MASE"])
    found = plans(tmp_path, baseline="univariate", variant="full", metric="SQL")
    assert with_plan(ladder, found)["plan"].tolist() == [*found, "exploratory", "exploratory"]
    # A task of as many series as the study has tasks is not the study.
    parts = ladder.assign(baseline="univariate", metric="SQL", kind=["all", "neither", "all"])
    parts = parts.assign(task=["t", "all", "all"])
    assert with_plan(parts, found)["plan"].tolist() == ["exploratory", "exploratory", *found]


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"variant": "sparse"}, "unknown attention variant"), ({"n": 1}, "n"), ({"unit": 1}, "unit")],
)
def test_a_plan_that_cannot_be_is_one_line(tmp_path, changed, message):
    with pytest.raises(InputError, match=message):
        plans(tmp_path, **changed)


def test_the_plans_that_ship_can_be_read(repo_root):
    for study, count in {"cbii": 1, "fev_bench": 2, "demo": 0}.items():
        assert len(load_plans(repo_root / "config/plans", study, **SETTINGS)) == count
