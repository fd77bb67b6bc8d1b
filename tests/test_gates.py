"""Gates: what passes, what fails, and that the prior study does not pass."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from chronos2_attention.errors import InputError
from study.evaluation import gates
from study.evaluation.comparison import prior_study


@pytest.fixture
def reference(repo_root):
    return lambda name: pd.read_csv(repo_root / "config" / "reference" / f"{name}.csv")


def perf(**mase):
    return pd.DataFrame({"task_name": list(mase), "MASE": list(mase.values())})


def test_prior_study_is_invalid_by_gates_3_and_4(reference):
    table = prior_study(
        reference("prior_cbii_perf_full"),
        {r: reference(f"prior_cbii_perf_sparse_r{r}") for r in (32, 8)},
        reference("published_cbii_seasonal_naive"),
        reference("prior_cbii_mass_per_window"),
        {},
    )
    assert table["radius"].tolist() == [8, 32]
    assert table["t"].tolist() == pytest.approx([-1.66693, 1.08253], abs=5e-6)
    assert table["baseline_rel_mase"].tolist() == pytest.approx([1.887, 1.887], abs=5e-4)
    assert table["attention_lift"].tolist() == pytest.approx([1, 1], abs=5e-6)
    assert not table["valid"].any()
    for reason in table["reason"]:
        assert "gate baseline failed" in reason
        assert "gate attention failed" in reason


def test_data_gate():
    naive = perf(close=1.0, far=1.0, unknown=1.0, undefined=math.nan)
    published = perf(close=1.0099, far=1.0102, other=1.0, undefined=1.0)
    rows = {row.task: row for row in gates.data_gate(naive, published, tolerance=0.01)}
    assert [rows[t].verdict for t in ("close", "far", "unknown", "undefined")] == [
        *("pass", "fail", "not applicable", "fail"),
    ]
    assert rows["far"].value == pytest.approx(1 - 1 / 1.0102)
    assert all(row.verdict == "not applicable" for row in gates.data_gate(naive, None))


def test_data_gate_spares_a_namesake_with_another_definition():
    here = perf(ETTh=1.0).assign(horizon=96, seasonality=24, initial_cutoff="2020-01-01")
    published = perf(ETTh=2.0).assign(horizon=24, seasonality=24, initial_cutoff=-24)
    (row,) = gates.data_gate(here, published)
    assert row.verdict == "not applicable"
    assert "horizon 96 instead of 24" in row.note
    assert "seasonality" not in row.note
    (row,) = gates.data_gate(here.assign(horizon=24, initial_cutoff=-24), published)
    assert row.verdict == "fail"


FEV_BENCH = "published_fev_bench"
SETTING = {"variant": "joint", "batch_size": "100", "dtype": "float32"}


@pytest.fixture
def fev_bench(reference):
    """Published figures of two tasks, and a study's own that equal them."""
    published = reference(FEV_BENCH)
    published = published[published["task_name"].isin(["ETT_1H", "rossmann_1W"])]
    own = published.rename(columns=lambda name: name.removeprefix("chronos_2_"))
    return published, own


def reproduced(own, published, model="chronos-2", setting=SETTING, **more):
    rows = gates.reproduction_gate(own, published, model, setting, **more)
    assert {row.gate for row in rows} == {"reproduction"}
    return rows


def test_reproduction_passes_on_equal_figures_and_fails_at_one_and_a_half_percent(fev_bench):
    published, own = fev_bench
    whole, *rows = reproduced(own, published)
    assert [row.task for row in rows] == ["ETT_1H", "ETT_1H", "rossmann_1W", "rossmann_1W"]
    assert [row.note.split()[0] for row in rows] == ["MASE", "SQL"] * 2
    assert {row.verdict for row in (whole, *rows)} == {"pass"}
    assert "2 of 2 tasks" in whole.note
    for metric, share in (("MASE", 1.015), ("SQL", 0.985)):
        near = own.assign(**{metric: own[metric] * [1.009, share]})
        whole, *rows = reproduced(near, published)
        failed = [row for row in rows if row.verdict == "fail"]
        assert [(row.task, row.note.split()[0]) for row in failed] == [("rossmann_1W", metric)]
        assert failed[0].value == pytest.approx(0.015)
        assert (whole.verdict, whole.value) == ("fail", pytest.approx(0.015))
        assert "rossmann_1W" in gates.summary([whole, *rows]).reason
    whole, *rows = reproduced(own.assign(SQL=math.nan), published)
    assert [row.verdict for row in (whole, *rows)] == ["fail", "pass", "fail", "pass", "fail"]


def test_reproduction_is_not_applicable_to_what_was_not_published(fev_bench):
    published, own = fev_bench
    (row,) = reproduced(own, published, model="nano")
    assert (row.verdict, "of nano" in row.note) == ("not applicable", True)
    (row,) = reproduced(own, None)
    assert row.verdict == "not applicable"
    # Another model's name that begins alike has no figures either.
    (row,) = reproduced(own, published, model="chronos-2-small")
    assert row.verdict == "not applicable"
    for key, value in {"dtype": "bfloat16", "batch_size": "256", "variant": "full"}.items():
        (row,) = reproduced(own, published, setting={**SETTING, key: value})
        assert (row.verdict, value in row.note) == ("not applicable", True)
    (row,) = reproduced(None, published)
    assert row.verdict == "not run"
    (row,) = reproduced(None, published, model="nano")
    assert row.verdict == "not applicable"
    other = own.assign(target=["['HUFL', 'OT']", "Sales"])
    whole, first, *rest = reproduced(other, published)
    assert (first.task, first.verdict) == ("ETT_1H", "not applicable")
    assert [row.verdict for row in (whole, *rest)] == ["pass"] * 3
    assert "1 of 2 tasks" in whole.note
    order = own.assign(target=["['OT', 'HUFL', 'HULL', 'MUFL', 'MULL', 'LUFL', 'LULL']", "Sales"])
    assert reproduced(order, published)[0].verdict == "pass"


def test_reproduction_says_where_published_batches_mix_cutoffs(fev_bench):
    published, own = fev_bench
    told = {row.task: row.note for row in reproduced(own, published, staggered=["ETT_1H"])[1:]}
    assert "mix their cutoffs" in told["ETT_1H"]
    assert "mix their cutoffs" not in told["rossmann_1W"]


def test_data_gate_compares_every_published_metric_and_the_fingerprint(fev_bench):
    published, _ = fev_bench
    here = published.rename(columns=lambda name: name.removeprefix("seasonal_naive_"))
    assert [row.verdict for row in gates.data_gate(here, published)] == ["pass", "pass"]
    for metric in ("MASE", "WAPE"):
        far = here.assign(**{metric: here[metric] * [1, 1.015]})
        one, other = gates.data_gate(far, published)
        assert (one.verdict, other.verdict) == ("pass", "fail")
        assert other.value == pytest.approx(0.015)
    point = here.assign(SQL=here["MASE"], WQL=here["WAPE"])  # published with intervals
    assert [row.verdict for row in gates.data_gate(point, published)] == ["pass", "pass"]
    renewed = here.assign(dataset_fingerprint=["abd94afdf0b158e2", "0"])
    one, other = gates.data_gate(renewed, published)
    assert "; the data's fingerprint is that published" in one.note
    assert "; the data's fingerprint is not that published" in other.note


def run(source="hub", strict="True", fingerprint="f1"):
    return {
        "weights_source": source,
        "weights_strict": strict,
        "weights_fingerprint": fingerprint,
    }


@pytest.mark.parametrize(
    ("runs", "verdict", "note"),
    [
        ({"full": run()}, "pass", "fingerprint f1"),
        ({"full": run("local"), "sparse": run("local")}, "pass", "fingerprint f1"),
        ({"full": run("random")}, "fail", "random weights"),
        ({"full": run(strict="False")}, "fail", "not loaded strictly"),
        ({"full": run(fingerprint="")}, "fail", "no fingerprint"),
        ({"full": {}}, "fail", "source of the weights unknown"),
        ({"full": run(), "sparse": run(fingerprint="f2")}, "fail", "different weights: f1, f2"),
        ({}, "not run", "no forecasts"),
    ],
)
def test_weights_gate(runs, verdict, note):
    (row,) = gates.weights_gate(runs)
    assert row.verdict == verdict
    assert note in row.note


@pytest.mark.parametrize(("threshold", "verdict"), [(1.0, "pass"), (0.61, "pass"), (0.59, "fail")])
def test_baseline_gate(threshold, verdict):
    naive = perf(b=4.0, a=1.0, unused=9.0)
    (row,) = gates.baseline_gate(perf(a=0.3, b=4.8), naive, threshold)
    assert row.value == pytest.approx(math.sqrt(0.3 * 1.2))
    assert row.verdict == verdict


def test_baseline_gate_at_its_limit_and_undefined():
    (row,) = gates.baseline_gate(perf(a=1.0), perf(a=1.0))
    assert row.verdict == "fail"
    (row,) = gates.baseline_gate(perf(a=1.0, b=math.nan), perf(a=1.0, b=1.0))
    assert row.verdict == "fail"
    assert "['b']" in row.note
    with pytest.raises(InputError, match="no Seasonal Naive"):
        gates.baseline_gate(perf(a=1.0), perf(b=1.0))


def mass(lift, *, layer=0, task="a", ctx_tokens=100, **more):
    """Rows of one window and layer; `lift` maps radius to lift."""
    return pd.DataFrame(
        [
            {
                **{"task_name": task, "window_index": 0, "layer": layer, "radius": radius},
                **{"kept_mass_frac_ctxQ": value * 0.1, "kept_edges_frac_ctxQ": 0.1},
                **{"ctx_tokens": ctx_tokens, **more},
            }
            for radius, value in lift.items()
        ]
    )


def gate(*tables):
    (row,) = gates.attention_gate(pd.concat(tables, ignore_index=True))
    return row


def test_attention_gate_wants_one_layer_off_one():
    uniform = mass({2: 1.0, 8: 1.001, 64: 1.0})
    row = gate(uniform, mass({2: 1.0, 8: 0.95, 64: 1.0}, layer=1))
    assert row.verdict == "fail"
    row = gate(uniform, mass({2: 3.0, 8: 1.6, 64: 1.1}, layer=1))
    assert row.verdict == "pass"
    assert row.value == pytest.approx(2.3)
    assert "layer 1 of 2" in row.note
    assert gate(uniform, mass({2: 0.5, 8: 0.7, 64: 1.0}, layer=1)).verdict == "pass"
    # What happens at large radii alone is not locality.
    assert gate(mass({2: 1.0, 8: 1.0, 64: 2.0})).verdict == "fail"


def test_attention_gate_leaves_out_what_says_nothing():
    uniform = mass({2: 1.0, 8: 1.0})
    padded = mass({2: 0.4, 8: 0.4}, task="b")
    short = mass({2: 5.0, 8: 1.5}, task="c", ctx_tokens=3)
    row = gate(uniform, padded, short)
    assert row.verdict == "fail"
    assert row.value == pytest.approx(1)
    assert "1 of 3 windows" in row.note
    assert gate(padded, short).verdict == "not applicable"
    told = mass({2: 5.0, 8: 1.5}, task="d", padded=True)
    assert gate(uniform.assign(padded=False), told).verdict == "fail"
    assert gate(uniform.assign(padded=False), told.assign(padded=False)).verdict == "pass"


def test_attention_gate_names_what_is_missing():
    with pytest.raises(InputError, match="kept_edges_frac_ctxQ"):
        gates.attention_gate(mass({2: 1.0}).drop(columns="kept_edges_frac_ctxQ"))
    with pytest.raises(InputError, match="no rows"):
        gates.attention_gate(mass({2: 1.0}).iloc[:0])


def test_summary_and_its_file(tmp_path):
    good = gates.baseline_gate(perf(a=0.5), perf(a=1.0))
    skipped = [gates.not_run("attention", "not measured"), *gates.data_gate(perf(a=1.0), None)]
    bad = gates.weights_gate({"full": run("random")})
    for rows, valid in (([*good, *skipped], True), ([*good, *skipped, *bad], False)):
        gates.validity_table(rows).to_csv(tmp_path / "v.csv", index=False)
        table = pd.read_csv(tmp_path / "v.csv")
        assert list(table.columns) == ["gate", "task", "value", "threshold", "verdict", "note"]
        found = gates.validity_of(table)
        assert (found.valid, bool(found.reason)) == (valid, not valid)
        assert found == gates.summary(rows)
        assert found.baseline_rel_mase == 0.5
    assert found.checked == "baseline 1 of 1, attention 0 of 1, data 0 of 1, weights 1 of 1"
    assert "m4's dates are invented" in gates.validity_of(table, ["m4"]).checked
    assert "random weights" in found.reason
    assert gates.Validity(True).unless("why") == gates.Validity(True).unless("")._replace(
        valid=False, reason="why"
    )
    with pytest.raises(InputError, match="no row of the summary"):
        gates.validity_of(table.iloc[:-1])


def test_same_weights():
    one = perf(a=1.0).assign(weights_fingerprint="f1")
    assert gates.same_weights(one, one) == ""
    assert "f2" in gates.same_weights(one, one.assign(weights_fingerprint="f2"))
    assert gates.same_weights(one, one.assign(weights_fingerprint=math.nan))


def test_all_gates_on_one_line():
    rows = [
        *gates.data_gate(perf(a=1.0, b=1.0), perf(a=1.0)),
        *gates.weights_gate({"full": run()}),
        *gates.baseline_gate(perf(a=0.5), perf(a=1.0)),
    ]
    line = gates.summary_line([*rows, gates.not_run("attention", "not measured")])
    assert line == "data pass, weights pass, baseline pass, attention not run: valid"
    line = gates.summary_line([*rows, *gates.data_gate(perf(c=2.0), perf(c=1.0))])
    assert line == "data fail, weights pass, baseline pass: NOT VALID"
