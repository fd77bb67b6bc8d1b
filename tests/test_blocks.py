"""Blocks of inputs: who sees whom, whatever shares a pass, and what a group is made of."""

import fev
import numpy as np
import pandas as pd
import pytest
import torch
from chronos.chronos2 import Chronos2Pipeline

from chronos2_attention import AttentionVariant, Chronos2VariantPipeline, InputError
from chronos2_attention.blocks import Block
from chronos2_attention.group_mass import cross_group_mass
from chronos2_attention.similarity import SimilaritySettings, similarity

MIXING = ["joint", "soft_correlation_t3", "soft_distance-permuted_t2", "cluster_cosine_k2"]
HORIZON = 20


@pytest.fixture(scope="module")
def pipelines(checkpoint_dir):
    """Upstream's pipeline and ours on the same weights."""
    ours = Chronos2VariantPipeline.from_pretrained(checkpoint_dir)
    return Chronos2Pipeline.from_pretrained(checkpoint_dir), ours


def items(count=7, seed=0, targets=2):
    """Inputs with several targets and covariates: past, known, categorical, with holes."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        length = int(rng.integers(20, 90))
        values = rng.normal(size=(targets, length)).cumsum(-1).astype(np.float32)
        values[0, 3:5] = np.nan
        known = rng.normal(size=length + HORIZON).astype(np.float32)
        kinds = np.array(["a", "b", "c"])[rng.integers(3, size=length + HORIZON)]
        past = {"past": rng.normal(size=length), "known": known[:length], "kind": kinds[:length]}
        future = {"known": known[length:], "kind": kinds[length:]}
        found.append({"target": values, "past_covariates": past, "future_covariates": future})
    return found


def close(one, other, rtol=1e-5):
    for a, b in zip(one, other, strict=True):
        scale = max(1.0, float(b.abs().max()))
        torch.testing.assert_close(a, b, rtol=0, atol=rtol * scale)


@pytest.mark.parametrize("joint", [False, True])
def test_items_with_covariates_are_forecast_as_upstream_does(pipelines, joint):
    upstream, ours = pipelines
    options = {"prediction_length": HORIZON, "batch_size": 12}
    expected = upstream.predict(items(), cross_learning=joint, **options)
    close(ours.with_variant("joint" if joint else "full").predict(items(), **options), expected)
    cutoffs = np.zeros(7)  # the same blocks, formed by us
    if joint:
        found = ours.with_variant("joint").predict(items(), cutoffs=cutoffs, **options)
        close(found, expected)


def test_univariate_is_each_target_alone(pipelines):
    upstream, ours = pipelines
    univariate = ours.with_variant("univariate")
    found = univariate.predict(items(), prediction_length=HORIZON)
    for item, forecast in zip(items(), found, strict=True):
        alone = upstream.predict(list(item["target"]), prediction_length=HORIZON)
        close([forecast], [torch.cat(alone)])
    quantiles, mean = univariate.predict_quantiles(
        items(), prediction_length=HORIZON, quantile_levels=[0.1, 0.5]
    )
    assert [q.shape[:2] for q in quantiles] == [(2, HORIZON)] * 7
    with pytest.raises(InputError, match="no embeddings"):
        univariate.embed([torch.zeros(30)])
    assert len(mean) == 7


@pytest.mark.parametrize("horizon", [HORIZON, 80], ids=["one pass", "unrolled"])
@pytest.mark.parametrize("variant", MIXING)
def test_blocks_side_by_side_are_those_alone(pipelines, variant, horizon):
    run = pipelines[1].with_variant(variant)
    inputs = [items(n, n, targets=n) for n in (3, 1, 4, 3)]
    if horizon != HORIZON:
        inputs = [[{"target": item["target"]} for item in part] for part in inputs]
    blocks = [Block(part, seed=(n, 5)) for n, part in enumerate(inputs)]
    together = run.predict_blocks(blocks, horizon)
    for block, found in zip(blocks, together, strict=True):
        close(found, run.predict_blocks([block], horizon)[0], rtol=1e-6)


@pytest.mark.parametrize("variant", [*MIXING, "grouped_shop"])
def test_nothing_after_a_cutoff_is_seen_but_known_futures(pipelines, variant):
    run = pipelines[1].with_variant(variant)
    options = {"prediction_length": HORIZON, "cutoffs": np.array([0, 0, 0, 1, 1])}
    if variant == "grouped_shop":
        options["groups"] = ["x"] * 5
    inputs = items(5)
    before = run.predict(inputs, **options)
    changed = items(5)
    changed[3]["target"] = changed[3]["target"] + 100  # of the later cutoff
    changed[3]["past_covariates"]["past"] = changed[3]["past_covariates"]["past"] * 7
    changed[3]["future_covariates"]["known"] = changed[3]["future_covariates"]["known"] - 50
    after = run.predict(changed, **options)
    for a, b in zip(before[:3], after[:3], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    assert not torch.allclose(before[3], after[3])
    changed = items(5)
    changed[1]["future_covariates"]["known"] = changed[1]["future_covariates"]["known"] + 9
    seen = run.predict(changed, **options)
    assert not torch.allclose(before[1], seen[1])
    if not variant.startswith("cluster"):  # whose other items may be in another group
        assert not torch.allclose(before[0], seen[0])


def test_a_category_of_a_later_cutoff_changes_no_code(pipelines):
    run, inputs, changed = pipelines[1].with_variant("joint"), items(4), items(4)
    kind = changed[3]["past_covariates"]["kind"].astype(object)
    kind[:] = "0"
    kind[:4] = "ab"  # between the others' a and b
    changed[3]["past_covariates"]["kind"] = kind
    options = {"prediction_length": HORIZON, "cutoffs": [0, 0, 0, 1]}
    before, after = run.predict(inputs, **options), run.predict(changed, **options)
    close(before[:3], after[:3], rtol=1e-6)


@pytest.mark.parametrize("limit", [None, 12])
@pytest.mark.parametrize("variant", ["joint", "soft_cosine_t1", "cluster_cosine_k2"])
def test_blocks_share_passes_that_memory_may_halve(pipelines, monkeypatch, caplog, variant, limit):
    run = pipelines[1].with_variant(variant)
    blocks = [Block(items(2, seed)) for seed in range(4)]  # of ten rows each
    alone = [run.predict_blocks([block], HORIZON)[0] for block in blocks]
    step, rows = Chronos2Pipeline._predict_step, []

    def limited(self, context, **kwargs):
        rows.append(len(context))
        if limit and len(context) > limit:
            raise torch.OutOfMemoryError("simulated")
        return step(self, context=context, **kwargs)

    monkeypatch.setattr(Chronos2Pipeline, "_predict_step", limited)
    for one, other in zip(run.predict_blocks(blocks, HORIZON), alone, strict=True):
        close(one, other, rtol=1e-6)
    assert rows[0] == 40, "all in one pass"
    assert rows[1:] == ([20, 10, 10, 10, 10] if limit else [])
    assert ("out of memory" in caplog.text) == bool(limit)
    limit = 9
    with pytest.raises(torch.OutOfMemoryError):
        run.predict_blocks(blocks, HORIZON)


@pytest.mark.parametrize("horizon", [HORIZON, 80], ids=["one pass", "unrolled"])
@pytest.mark.parametrize("variant", ["joint", "soft_cosine_t1", "cluster_cosine_k2"])
def test_blocks_on_the_fast_path_are_those_of_dense_masks(checkpoint_dir, variant, horizon):
    run = Chronos2VariantPipeline.from_pretrained(checkpoint_dir, variant=variant)
    inputs = [[{"target": i["target"]} for i in items(n, n)] for n in (3, 1, 3)]
    fast = run.predict_blocks(list(map(Block, inputs)), horizon)
    run.model.encoder.block[0].layer[0].register_forward_hook(lambda *_: None)
    dense = run.predict_blocks(list(map(Block, inputs)), horizon)
    assert "upstream" in run.model.backends_used
    for one, other in zip(fast, dense, strict=True):
        close(one, other, rtol=1e-5 if horizon == HORIZON else 1e-3)


@pytest.mark.parametrize("values", [np.nan, 2.0])
def test_clusters_refuse_what_is_no_similarity(pipelines, values):
    run = pipelines[1].with_variant("cluster_cosine_k2")
    with pytest.raises(InputError, match="not in"):
        run.predict([torch.zeros(30)] * 3, 4, similarity=np.full((3, 3), values))
    with pytest.raises(InputError, match=r"shape \(2, 2\) for 3 series"):
        run.predict_blocks([Block([torch.zeros(30)] * 3, np.ones((2, 2)))], 4)


@pytest.mark.parametrize("missing", [pd.NaT, None, np.nan])
def test_inputs_of_unknown_cutoffs_join_nothing(pipelines, missing):
    with pytest.raises(InputError, match="a cutoff is missing"):
        pipelines[1].with_variant("joint").predict([torch.zeros(30)] * 2, 4, cutoffs=[missing] * 2)


def test_lengths_of_blocks_are_whole_numbers(pipelines):
    run = pipelines[1].with_variant("joint")
    assert run.predict_blocks([], 4) == []
    for wrong in ({"prediction_length": 0}, {"prediction_length": 4, "context_length": 2.5}):
        with pytest.raises(InputError, match="in whole numbers"):
            run.predict_blocks([Block([torch.zeros(30)])], **wrong)


@pytest.mark.parametrize("variant", ["cluster_cosine_k2", "grouped_shop"])
def test_groups_that_only_a_call_has_are_not_measured_nor_trained(pipelines, variant):
    run = pipelines[1].with_variant(variant)
    with pytest.raises(InputError, match="soft mask or joint"):
        cross_group_mass(run, [np.zeros(30)] * 2, 4)
    with pytest.raises(InputError, match="fit full"):
        run.fit([np.zeros(99)] * 2, prediction_length=4, num_steps=1)


def test_univariate_trains_each_target_alone(pipelines):
    _, ours = pipelines
    context, future = torch.randn(4, 32).cumsum(-1), torch.randn(4, 16)
    losses = {}
    for name, ids in (("univariate", [0, 0, 1, 1]), ("full", [0, 1, 2, 3]), ("full", [0, 0, 1, 1])):
        model = ours.with_variant(name).model
        asked = {"group_ids": torch.tensor(ids), "num_output_patches": 1}
        losses[name, ids[1]] = model(context, future_target=future, **asked).loss.item()
    assert losses["univariate", 0] == pytest.approx(losses["full", 1], rel=1e-6)
    assert losses["univariate", 0] != pytest.approx(losses["full", 0], rel=1e-4)


def test_univariate_is_upstream_by_frame_and_block(pipelines):
    upstream, run = pipelines[0], pipelines[1].with_variant("univariate")
    days, rng = pd.date_range("2024-01-01", periods=40, freq="D"), np.random.default_rng(2)
    frame = pd.DataFrame({"timestamp": days}).merge(pd.DataFrame({"item_id": ["a", "b"]}), "cross")
    frame = frame.sort_values(["item_id", "timestamp"], ignore_index=True)
    frame[["one", "two", "price"]] = rng.normal(size=(80, 3))
    found = run.predict_df(frame, target=["one", "two"], prediction_length=4)
    for name in ("one", "two"):
        asked = frame[["item_id", "timestamp", name]]
        expected = upstream.predict_df(asked, target=name, prediction_length=4)
        same = found[found["target_name"] == name].reset_index(drop=True)
        pd.testing.assert_frame_equal(same, expected, rtol=1e-5, atol=1e-5)
    assert "upstream" not in run.describe()["backend"]
    assert run.describe()["backend"]
    blocks = [Block(items(2, 1)), Block(items(3, 2))]
    for block, forecasts in zip(blocks, run.predict_blocks(blocks, HORIZON), strict=True):
        close(forecasts, run.predict(block.inputs, HORIZON), rtol=1e-6)


@pytest.mark.parametrize("labels", [torch.tensor, np.array, pd.Series])
def test_labels_may_be_of_any_kind(pipelines, labels):
    _, ours = pipelines
    inputs, numbers = list(torch.randn(60, 20)), [n % 7 for n in range(60)]
    expected = ours.predict(inputs, 4, groups=[f"x{n}" for n in numbers])
    close(ours.predict(inputs, 4, groups=labels(numbers)), expected)


@pytest.mark.parametrize(
    ("variant", "asked"),
    [
        ("univariate", {"as_univariate": True}),
        ("full", {}),
        ("joint", {"cross_learning": True, "batch_size": 100}),
    ],
)
def test_a_task_of_fev_is_forecast_as_upstream_does(pipelines, tmp_path, variant, asked):
    upstream, ours = pipelines
    rng, days = np.random.default_rng(5), pd.date_range("2020-01-01", periods=60, freq="D")
    kinds = np.array(["a", "b", None], dtype=object)
    rows = []
    for n in range(4):
        values = {name: rng.normal(size=60).cumsum() for name in ("one", "two", "past", "known")}
        values["one"][7:9] = np.nan
        rows.append(
            {"id": f"s{n}", "timestamp": days.to_list(), "kind": kinds[rng.integers(3, size=60)]}
        )
        rows[-1] |= values
    path = tmp_path / "series.parquet"
    pd.DataFrame(rows).to_parquet(path)
    task = fev.Task(
        dataset_path=str(path), horizon=7, num_windows=2, seasonality=7, target=["one", "two"],
        known_dynamic_columns=["known", "kind"], past_dynamic_columns=["past"],
        eval_metric="SQL", quantile_levels=[0.1, 0.5, 0.9],
    )  # fmt: skip
    expected, _ = upstream.predict_fev(task, **asked)
    size = {name: value for name, value in asked.items() if name == "batch_size"}
    found, _ = ours.with_variant(variant).predict_fev(task, **size)
    for one, other in zip(found, expected, strict=True):
        for name in ("one", "two"):
            for level in ("predictions", "0.1", "0.9"):
                a, b = (np.stack(window[name][level]) for window in (one, other))
                np.testing.assert_allclose(a, b, rtol=0, atol=1e-5 * max(1, np.abs(b).max()))


@pytest.mark.parametrize("size", ["batch_size", "prediction_length", "context_length"])
@pytest.mark.parametrize("told", ["groups", "cutoffs"])
def test_a_size_that_is_no_whole_number_joins_nothing(pipelines, size, told):
    run = pipelines[1].with_variant("full" if told == "groups" else "joint")
    with pytest.raises(InputError, match=size):
        run.predict([torch.zeros(30)] * 2, **{told: [0, 1], size: 8.5})


@pytest.mark.parametrize("time", ["full", "sparse_r1"])
def test_groups_are_those_of_a_dense_mask(pipelines, time):
    """The reference: every item of a label in one block of upstream's joint attention."""
    _, ours = pipelines
    inputs, groups = items(), ["x", "y", "x", None, "y", "x", None]
    run = ours.with_variant(time)
    found = run.predict(inputs, prediction_length=HORIZON, groups=groups, batch_size=2)
    prepared, sizes = run._prepare(inputs, HORIZON)
    labels = np.repeat([{"x": 0, "y": 1, None: 2}[g] for g in groups], sizes)
    width = max(item["context"].shape[-1] for item in prepared)
    context = torch.cat(
        [
            torch.nn.functional.pad(
                item["context"], (width - item["context"].shape[-1], 0), value=torch.nan
            )
            for item in prepared
        ]
    )
    with torch.no_grad():
        dense = run.model.encode(
            context,
            group_ids=torch.from_numpy(labels),
            future_covariates=torch.cat([item["future_covariates"] for item in prepared]),
            num_output_patches=2,
        )
        hidden = dense[0].last_hidden_state[:, -2:]
        quantiles = run.model.output_patch_embedding(hidden).unflatten(-1, (21, -1))
        quantiles = quantiles.transpose(1, 2).flatten(1)
        quantiles = run.model.instance_norm.inverse(quantiles, dense[1])
    quantiles = quantiles.unflatten(1, (21, -1))[..., :HORIZON]
    first = np.cumsum([0, *sizes[:-1]])
    expected = [
        quantiles[a : a + len(item["target"])] for a, item in zip(first, inputs, strict=True)
    ]
    close(found, expected)


@pytest.mark.parametrize("label", ["own", "one"])
def test_groups_and_clusters_reach_from_full_to_joint(pipelines, label):
    _, ours = pipelines
    inputs, options = items(6), {"prediction_length": HORIZON, "cutoffs": np.zeros(6)}
    expected = ours.with_variant("full" if label == "own" else "joint").predict(inputs, **options)
    groups = list(range(6)) if label == "own" else ["g"] * 6
    grouped = ours.with_variant("grouped_g").predict(inputs, groups=groups, **options)
    close(grouped, expected)
    close(ours.predict(inputs, groups=groups, **options), expected)
    cluster = ours.with_variant(f"cluster_correlation_k{1 if label == 'own' else 6}")
    close(cluster.predict(inputs, **options), expected)


def test_clusters_are_branches_of_average_linkage(pipelines):
    """Two pairs of like series and a stranger: each pair, and only it, is one group."""
    rng = np.random.default_rng(3)
    base = rng.normal(size=(3, 60)).cumsum(-1)
    order = [0, 1, 0, 2, 1]
    series = np.stack([base[k] + 0.01 * rng.normal(size=60) for k in order]).astype(np.float32)
    run = pipelines[1].with_variant("cluster_correlation_k2")
    found = run.predict(list(series), prediction_length=HORIZON)
    given = similarity(series, "correlation", SimilaritySettings())
    told = run.predict(list(series), prediction_length=HORIZON, similarity=given)
    expected = pipelines[1].predict(list(series), prediction_length=HORIZON, groups=order)
    close(found, expected)
    close(told, expected)


def test_a_frame_names_its_groups(pipelines):
    _, ours = pipelines
    days = pd.date_range("2024-01-01", periods=40, freq="D")
    rng = np.random.default_rng(1)
    frames = [
        pd.DataFrame({"item_id": n, "timestamp": days, "target": rng.normal(size=40), "shop": s})
        for n, s in (("b", "x"), ("a", "y"), ("c", "x"))
    ]
    frame = pd.concat(frames)
    found = ours.predict_df(frame, prediction_length=4, groups="shop")
    told = frame.drop(columns="shop")
    shops = {"a": "y", "b": "x", "c": "x"}
    same = ours.predict_df(told, prediction_length=4, groups=shops)
    pd.testing.assert_frame_equal(found, same)
    ahead = pd.date_range("2024-02-10", periods=4, freq="D")
    future = pd.DataFrame({"item_id": np.repeat(["b", "a", "c"], 4), "timestamp": [*ahead] * 3})
    future["shop"] = np.repeat(["x", "y", "x"], 4)
    for args, kwargs in (((future,), {}), ((), {"future_df": future})):
        same = ours.predict_df(frame, *args, prediction_length=4, groups="shop", **kwargs)
        pd.testing.assert_frame_equal(found, same)
    alone = ours.predict_df(told, prediction_length=4)
    differs = np.abs(alone["predictions"] - found["predictions"]).groupby(found["item_id"]).max()
    assert differs["a"] < 1e-5
    assert differs[["b", "c"]].min() > 1e-4
    apart = ours.predict_df(told, prediction_length=4, groups="item_id")
    np.testing.assert_allclose(apart["predictions"], alone["predictions"], rtol=1e-5)
    with pytest.raises(InputError, match="cross_learning takes no groups"):
        ours.predict_df(told, prediction_length=4, groups=shops, cross_learning=True)
    for groups, message in (("price", "no column"), ("target", "varies"), ({"a": 1}, "no group")):
        with pytest.raises(InputError, match=message):
            ours.predict_df(frame, prediction_length=4, groups=groups)


@pytest.mark.parametrize(
    ("variant", "groups", "message"),
    [
        ("joint", [0, 0], "takes no groups"),
        ("soft_cosine_t1", [0, 0], "takes no groups"),
        ("grouped_g", None, "needs groups"),
        ("full", [0], "1 groups for 2 inputs"),
        ("full", [["x"], ["y"]], "cannot be told apart"),
        ("univariate", [0, 0], "neither groups"),
    ],
)
def test_groups_that_do_not_fit_are_refused(pipelines, variant, groups, message):
    with pytest.raises(InputError, match=message):
        pipelines[1].with_variant(variant).predict([torch.zeros(30)] * 2, 4, groups=groups)


@pytest.mark.parametrize(
    "name", ["univariate", "grouped_region", "grouped_a_b_1", "cluster_distance_k12"]
)
def test_names_round_trip(name):
    assert str(AttentionVariant.parse(name)) == name
    for wrong in (
        "cluster_distance_k0",
        "cluster_distance_k04",
        "grouped_",
        "grouped_größe",
        "cluster_x_k2",
    ):
        with pytest.raises(InputError):
            AttentionVariant.parse(wrong)
