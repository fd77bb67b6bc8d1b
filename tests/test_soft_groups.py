"""Soft group masks: their limits, their reference, their controls, and that nothing leaks."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from chronos2_attention import AttentionVariant, Chronos2VariantPipeline, InputError
from chronos2_attention.similarity import similarity
from chronos2_attention.soft_groups import (
    MeasuredGroupAttention,
    SoftGroupAttention,
    group_bias,
    group_weights,
    one_part,
    soft_mask,
)

MEASURES = ["correlation", "cosine", "distance"]


@pytest.fixture(scope="module")
def pipeline(checkpoint_dir):
    return Chronos2VariantPipeline.from_pretrained(checkpoint_dir)


def ragged(seed=0, lengths=(300, 200, 90, 41, 40)):
    """Noisy copies of one wave, of several lengths, the second with a gap."""
    rng = np.random.default_rng(seed)
    wave = np.sin(np.arange(400) / 7)
    series = [torch.tensor((wave + 0.3 * rng.normal(size=400))[-n:]).float() for n in lengths]
    series[1][50:70] = torch.nan
    return series


def assert_same(found, wanted, tolerance=1e-5):
    for a, b in zip(found, wanted, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= tolerance * b.abs().max()


def differ(found, wanted):
    pairs = zip(found, wanted, strict=True)
    return any((a - b).abs().max() > 1e-3 * b.abs().max() for a, b in pairs)


@pytest.mark.parametrize("horizon", [20, 150], ids=["one pass", "unrolled"])
@pytest.mark.parametrize("measure", [*MEASURES, "uniform"])
def test_temperature_zero_is_joint_and_a_large_one_full(pipeline, measure, horizon):
    joint = pipeline.with_variant("joint").predict(ragged(), horizon)
    full = pipeline.predict(ragged(), horizon)
    assert differ(joint, full)
    assert_same(pipeline.with_variant(f"soft_{measure}_t0").predict(ragged(), horizon), joint)
    strict = pipeline.with_variant(f"soft_{measure}_t1000000").predict(ragged(), horizon)
    # Unrolling takes weighted quantiles, where rounding may pick the neighbour.
    assert_same(strict, full, 1e-5 if horizon == 20 else 1e-3)


def with_reference(variant_pipeline, inputs, horizon):
    """Forecast through upstream's blocks, whose masks are dense, instead of the fast path."""
    model = variant_pipeline.model
    fast = model.forward

    def slow(**kwargs):
        return fast(**kwargs, output_attentions=True)

    model.forward = slow
    try:
        return variant_pipeline.predict(inputs, horizon)
    finally:
        del model.forward


@pytest.mark.parametrize("name", ["soft_correlation_t2", "soft_distance-uniform_t1"])
def test_the_fast_path_equals_upstreams_blocks_with_a_soft_mask(pipeline, name):
    soft = pipeline.with_variant(name)
    assert_same(soft.predict(ragged(), 20), with_reference(soft, ragged(), 20))


def test_multivariate_inputs_and_covariates_are_groups_of_weight_one(pipeline):
    rng = np.random.default_rng(3)
    inputs = [
        {
            "target": rng.normal(size=(2, 120)).cumsum(1).astype(np.float32),
            "past_covariates": {"x": rng.normal(size=120).astype(np.float32)},
            "future_covariates": {"x": rng.normal(size=20).astype(np.float32)},
        },
        {
            "target": rng.normal(size=(2, 60)).cumsum(1).astype(np.float32),
            "past_covariates": {"x": rng.normal(size=60).astype(np.float32)},
            "future_covariates": {"x": rng.normal(size=20).astype(np.float32)},
        },
    ]
    full = pipeline.predict(inputs, 20)
    assert_same(pipeline.with_variant("soft_correlation_t1000000").predict(inputs, 20), full)
    soft = pipeline.with_variant("soft_correlation_t1")
    assert_same(soft.predict(inputs, 20), with_reference(soft, inputs, 20))
    assert differ(soft.predict(inputs, 20), full)


matrices = st.integers(2, 9).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 3), min_size=n, max_size=n), st.integers(0, 2**32 - 1)
    )
)


def random_similarity(n, seed):
    values = np.random.default_rng(seed).uniform(size=(n, n))
    found = np.triu(values, 1)
    found = found + found.T
    np.fill_diagonal(found, 1.0)
    return found


@given(matrices, st.sampled_from([None, "permuted", "uniform"]))
def test_weights_are_one_within_and_similarities_across_groups(drawn, control):
    groups, seed = np.array(drawn[0]), drawn[1]
    given_similarity = random_similarity(len(groups), seed)
    before = given_similarity.copy()
    name = "soft_cosine_t5" if control is None else f"soft_cosine-{control}_t5"
    weights = group_weights(AttentionVariant.parse(name), groups, given_similarity, seed)
    np.testing.assert_array_equal(given_similarity, before)
    np.testing.assert_array_equal(weights, weights.T)
    across = groups[:, None] != groups[None, :]
    assert (weights[~across] == 1).all()
    if control is None:
        np.testing.assert_array_equal(weights[across], given_similarity[across])
    elif control == "permuted":
        np.testing.assert_array_equal(
            np.sort(weights[across]), np.sort(given_similarity[across]), "the same values"
        )
    elif across.any():
        np.testing.assert_allclose(weights[across], given_similarity[across].mean())


def test_permuted_pairs_depend_on_the_seed_alone():
    variant = AttentionVariant.parse("soft_correlation-permuted_t5")
    values, groups = random_similarity(12, 1), np.arange(12)
    first, again, other = (group_weights(variant, groups, values, seed) for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first != values).any()


@pytest.mark.parametrize("values", [np.ones((2, 2)), np.full((3, 3), 1.5), np.full((3, 3), np.nan)])
def test_similarities_that_are_none_are_refused(values):
    with pytest.raises(InputError):
        group_weights(AttentionVariant.parse("soft_cosine_t5"), np.arange(3), values)


@given(st.floats(0, 1e7), st.integers(0, 100))
def test_a_bias_is_finite_and_not_above_zero(temperature, seed):
    weights = random_similarity(5, seed)
    weights[0, 1] = weights[1, 0] = 0
    bias = group_bias(weights, temperature)
    assert torch.isfinite(bias.to(torch.bfloat16)).all()
    assert (bias <= 0).all()
    expected = temperature * np.log(weights + 1e-10)
    assert np.allclose(bias.numpy(), np.minimum(expected, 0), rtol=1e-6, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(matrices, st.lists(st.floats(0, 50), min_size=2, max_size=5, unique=True), st.booleans())
def test_cross_group_mass_falls_as_the_temperature_rises(drawn, temperatures, padded):
    """For single series: the own weight is fixed, that of others falls with the temperature."""
    n, tokens = len(drawn[0]), 3
    generator = torch.Generator().manual_seed(drawn[1])
    q, k = (torch.randn(tokens, 2, n, 4, generator=generator) for _ in range(2))
    valid = torch.rand(n, tokens, generator=generator) > 0.3 if padded else None
    weights = group_weights(
        AttentionVariant.parse("soft_cosine_t1"), np.arange(n), random_similarity(n, drawn[1])
    )
    masses = []
    for temperature in sorted(temperatures):
        measured = MeasuredGroupAttention(
            torch.arange(n), group_bias(weights, temperature), valid, q.dtype, q.device
        )
        masses.append(cross_group_mass(measured, q, k, valid))
    # Monotone wherever a series sees itself, that is at observed tokens.
    assert all(later <= earlier + 1e-6 for earlier, later in pairwise(masses))


def cross_group_mass(measured, q, k, valid):
    measured._sum, measured._count = 0.0, 0
    observed = None if valid is None else valid.T
    mask = soft_mask(measured.parts[0][1][0], observed, q.dtype)
    measured._attend(q, k, k, mask, observed)
    return measured._sum / max(measured._count, 1)


def test_measured_and_plain_attention_agree(pipeline):
    layer = pipeline.model.encoder.block[0].layer[1]
    hidden = torch.randn(5, 7, pipeline.model.config.d_model)
    valid = torch.ones(5, 9, dtype=torch.bool)
    valid[2, :3] = False
    bias = group_bias(random_similarity(5, 2), 1.5)
    common = bias, valid, hidden.dtype, hidden.device
    with torch.no_grad():
        plain = SoftGroupAttention(one_part(bias), *common[1:])(layer, hidden, 2)
        measured = MeasuredGroupAttention(torch.arange(5), *common)
        torch.testing.assert_close(measured(layer, hidden, 2), plain, rtol=1e-5, atol=1e-6)
    assert len(measured.cross_group_mass) == 1
    assert 0 < measured.cross_group_mass[0] < 1


@pytest.mark.parametrize("lengths", [(60, 60, 60), (20, 90, 200)], ids=["equal", "padded"])
@pytest.mark.parametrize("horizon", [20, 90])
def test_soft_masks_are_made_once_a_batch(pipeline, monkeypatch, lengths, horizon):
    """In each pass one for whole sequences, and one for the future tokens of the last layer."""
    soft, made = pipeline.with_variant("soft_correlation_t2"), []

    def counting(*args):
        made.append(args)
        return soft_mask(*args)

    monkeypatch.setattr("chronos2_attention.soft_groups.soft_mask", counting)
    series = [torch.randn(n, generator=torch.Generator().manual_seed(n)) for n in lengths]
    forecasts = soft.predict(series, horizon)
    assert len(made) == 2 * -(-horizon // 64)
    monkeypatch.setattr("chronos2_attention.soft_groups.ELEMENTS_AT_ONCE", 1)
    assert_same(soft.predict(series, horizon), forecasts, 1e-5 if horizon == 20 else 1e-3)
    assert len(made) > 10, "what does not fit is made again, a part at a time"


def plant(length=200, horizon=16, seed=5):
    """A series, and another that is the same 16 steps later: it holds the first one's future."""
    rng = np.random.default_rng(seed)
    path = rng.normal(size=length + horizon).cumsum().astype(np.float32)
    early, late = path[:length], path
    changed = late.copy()
    changed[-horizon:] += 50
    return [torch.tensor(early), torch.tensor(late)], [torch.tensor(early), torch.tensor(changed)]


@pytest.mark.parametrize("name", ["joint", "soft_correlation_t0.5", "soft_cosine-permuted_t0.5"])
def test_no_series_sees_the_future_of_another(pipeline, name):
    told, lied = plant()
    cutoffs = np.array(["2020-01-01", "2020-01-17"], dtype="datetime64[D]")
    honest = pipeline.with_variant(name)
    first = honest.predict(told, 16, cutoffs=cutoffs)[0]
    torch.testing.assert_close(first, honest.predict(lied, 16, cutoffs=cutoffs)[0], rtol=0, atol=0)
    assert_same([first], [pipeline.predict(told, 16)[0]])
    if "permuted" not in name:
        leaking = pipeline.with_variant(f"{name}_leaking")
        a, b = (leaking.predict(x, 16, cutoffs=cutoffs)[0] for x in (told, lied))
        assert differ([a], [b]), "the diagnostic shows the leak"


def test_a_data_frame_brings_its_cutoffs(pipeline):
    frames = []
    for item, start in (("b", "2020-01-03"), ("a", "2020-01-01"), ("c", "2020-01-03")):
        times = pd.date_range(start, periods=60, freq="D")
        values = np.random.default_rng(ord(item)).normal(size=60).cumsum()
        frames.append(pd.DataFrame({"item_id": item, "timestamp": times, "target": values}))
    frame = pd.concat(frames)
    found = pipeline.with_variant("joint").predict_df(frame, prediction_length=8)
    alone = pipeline.predict_df(frame, prediction_length=8)
    pair = frame[frame["item_id"] != "a"]
    both = pipeline.with_variant("joint").predict_df(pair, prediction_length=8)

    def of(table, item):
        return table.loc[table["item_id"] == item, "predictions"].to_numpy()

    np.testing.assert_allclose(of(found, "a"), of(alone, "a"), rtol=1e-5)
    for item in "bc":
        np.testing.assert_allclose(of(found, item), of(both, item), rtol=1e-5)
        assert not np.allclose(of(found, item), of(alone, item), rtol=1e-3)


def test_similarities_may_be_given(pipeline):
    series = ragged()
    soft = pipeline.with_variant("soft_correlation_t2")
    values = similarity([item.numpy() for item in series], "correlation")
    assert_same(soft.predict(series, 20, similarity=values), soft.predict(series, 20))
    flipped = values[::-1, ::-1]
    assert differ(soft.predict(series, 20, similarity=flipped), soft.predict(series, 20))
    # Batches of one cutoff take their part of the matrix.
    cutoffs = np.array([1, 0, 1, 0, 1])
    split = soft.predict(series, 20, cutoffs=cutoffs, similarity=values)
    wanted = [None] * 5
    for rows in ([0, 2, 4], [1, 3]):
        part = soft.predict(
            [series[row] for row in rows], 20, similarity=values[np.ix_(rows, rows)]
        )
        for row, forecast in zip(rows, part, strict=True):
            wanted[row] = forecast
    assert_same(split, wanted)


@pytest.mark.parametrize(
    "wrong", [{"cutoffs": [1, 2]}, {"similarity": np.ones((2, 2))}], ids=["cutoffs", "similarity"]
)
def test_what_does_not_fit_the_inputs_is_refused(pipeline, wrong):
    with pytest.raises(InputError, match="give one for each"):
        pipeline.with_variant("soft_correlation_t2").predict(ragged(), 20, **wrong)
