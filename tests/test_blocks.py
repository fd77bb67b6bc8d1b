"""Blocks of inputs: who sees whom, whatever shares a pass, and what a group is made of."""

import numpy as np
import pandas as pd
import pytest
import torch
from chronos.chronos2 import Chronos2Pipeline

from chronos2_attention import AttentionVariant, Chronos2VariantPipeline, InputError
from chronos2_attention.blocks import Block
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
    alone = ours.predict_df(told, prediction_length=4)
    differs = np.abs(alone["predictions"] - found["predictions"]).groupby(found["item_id"]).max()
    assert differs["a"] < 1e-5
    assert differs[["b", "c"]].min() > 1e-4
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
    for wrong in ("cluster_distance_k0", "cluster_distance_k04", "grouped_", "cluster_x_k2"):
        with pytest.raises(InputError):
            AttentionVariant.parse(wrong)
