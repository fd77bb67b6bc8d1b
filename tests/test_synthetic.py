"""The synthetic generator: families, couplings and batches."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pretraining.batches import PATCH, Batch, batch_stream, make_batches, make_chunk
from pretraining.components import seasonal_pattern
from pretraining.coupling import KINDS, MAX_LAG, couple, lead_lag, sample_groups
from pretraining.settings import load_settings
from pretraining.synthetic import FAMILIES, sample_series


@pytest.fixture(scope="module")
def data(repo_root):
    """The committed recipe, with small steps."""
    _, data, _, _ = load_settings(repo_root / "config" / "pretrain.yaml")
    return replace(data, tokens_per_step=128, settings_per_chunk=4, steps_per_setting=2)


def same(a: Batch, b: Batch) -> bool:
    return (
        np.array_equal(a.context, b.context, equal_nan=True)
        and np.array_equal(a.future, b.future, equal_nan=True)
        and np.array_equal(a.known, b.known)
        and a.group_size == b.group_size
    )


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 5), length=st.integers(22, 300))
def test_families_are_finite_seeded_and_shaped(family, seed, count, length):
    draw = FAMILIES[family]
    x = draw(np.random.default_rng(seed), count, length)
    assert x.shape == (count, length)
    assert np.isfinite(x).all()
    assert np.array_equal(x, draw(np.random.default_rng(seed), count, length))


@pytest.mark.parametrize("family", FAMILIES)
def test_families_differ_between_series_and_seeds(family):
    draw = FAMILIES[family]
    x = draw(np.random.default_rng(1), 40, 120)
    assert len(np.unique(x.round(9), axis=0)) > 35
    assert not np.array_equal(x, draw(np.random.default_rng(2), 40, 120))


@pytest.mark.parametrize("family", ["counts", "intermittent"])
def test_counts_are_non_negative_integers(family):
    x = FAMILIES[family](np.random.default_rng(3), 50, 200)
    assert (x >= 0).all()
    assert np.array_equal(x, np.round(x))


def test_intermittent_series_have_zeros_and_demand():
    x = FAMILIES["intermittent"](np.random.default_rng(4), 50, 400)
    zeros = (x == 0).mean()
    assert 0.3 < zeros < 0.95
    assert (x.max(axis=1) > 0).all()


def test_random_walks_are_less_predictable_than_their_level_suggests():
    """Steps of a random walk are uncorrelated with one another, its level is not."""
    x = FAMILIES["random_walk"](np.random.default_rng(5), 200, 400)
    steps = np.diff(x, axis=1)

    def autocorrelation(rows):
        rows = rows - rows.mean(axis=1, keepdims=True)
        return np.median((rows[:, 1:] * rows[:, :-1]).sum(axis=1) / (rows**2).sum(axis=1))

    assert abs(autocorrelation(steps)) < 0.05
    assert autocorrelation(x) > 0.9


@pytest.mark.parametrize("period", [4, 7, 12, 24, 168])
def test_seasonal_patterns_repeat(period):
    x = seasonal_pattern(np.random.default_rng(6), np.full(20, period), 3 * period)
    np.testing.assert_allclose(x[:, period:], x[:, :-period], atol=1e-9)
    np.testing.assert_allclose(x.std(axis=1), 1.0)


@pytest.mark.parametrize("length", [22, 112, 2112])
def test_sample_series_covers_short_and_long(length):
    weights = dict.fromkeys(FAMILIES, 1.0)
    x = sample_series(np.random.default_rng(7), 60, length, weights)
    assert x.shape == (60, length)
    assert np.isfinite(x).all()
    assert np.array_equal(x, sample_series(np.random.default_rng(7), 60, length, weights))


def test_sample_series_draws_the_families_it_is_given():
    x = sample_series(np.random.default_rng(8), 40, 100, {"counts": 1.0, "ets": 0.0}, pure=True)
    smallest = np.array([np.diff(np.unique(row)).min() for row in x])
    np.testing.assert_allclose(x / smallest[:, None], np.round(x / smallest[:, None]), atol=1e-6)


def test_calendar_series_repeat_weekly():
    """A week ago says more about working and free days than any other lag up to a week."""
    x = FAMILIES["calendar"](np.random.default_rng(14), 300, 40)  # mostly one point a day
    x = x[:, -35:] - x[:, -35:].mean(axis=1, keepdims=True)
    best = [np.argmin([np.abs(row[k:] - row[:-k]).mean() for k in range(1, 8)]) + 1 for row in x]
    assert np.mean(np.array(best) == 7) > 0.5


@settings(max_examples=20, deadline=None)
@given(lag=st.integers(1, MAX_LAG), seed=st.integers(0, 1000))
def test_followers_repeat_their_leader_after_the_lag(lag, seed):
    rng = np.random.default_rng(seed)
    length = MAX_LAG + 100
    leader = rng.normal(size=(3, length))
    own = rng.normal(size=(3, 2, length))
    x = lead_lag(rng, own, leader, np.full((3, 2), lag), np.zeros((3, 2)), inverted=0.0)
    np.testing.assert_array_equal(x[:, 0], leader[:, MAX_LAG:])
    np.testing.assert_array_equal(x[:, 1, lag:], x[:, 0, :-lag])


def test_inverted_followers_are_upside_down():
    rng = np.random.default_rng(8)
    leader, own = rng.normal(size=(2, 200)), rng.normal(size=(2, 2, 200))
    x = lead_lag(rng, own, leader, np.full((2, 2), 5), np.zeros((2, 2)), inverted=1.0)
    np.testing.assert_array_equal(x[:, 1, 5:], -x[:, 0, :-5])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [2, 5])
def test_couplings_keep_shape_and_leave_something_to_forecast(kind, size):
    rng = np.random.default_rng(9)
    base = rng.normal(size=(40, size, MAX_LAG + 80))
    x, known = couple(rng, base, kind, inverted=0.3)
    assert x.shape == (40, size, 80)
    assert np.isfinite(x).all()
    assert known.shape == (40, size)
    assert (~known).any(axis=1).all()
    if kind == "unrelated":
        assert not known.any()


def best_correlation(x: np.ndarray) -> float:
    """Median over groups of the largest |correlation| of two members at lags 0 to 64."""
    values = []
    for a, b in x[:, :2]:
        at = [np.corrcoef(a[: len(a) - k], b[k:])[0, 1] for k in range(MAX_LAG + 1)]
        at += [np.corrcoef(b[: len(b) - k], a[k:])[0, 1] for k in range(MAX_LAG + 1)]
        values.append(np.abs(at).max())
    return float(np.median(values))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "unrelated"])
def test_couplings_couple(kind):
    """White noise is uncorrelated across a group until it is coupled."""
    rng = np.random.default_rng(10)
    base = rng.normal(size=(60, 2, MAX_LAG + 400))
    unrelated, _ = couple(np.random.default_rng(1), base, "unrelated")
    coupled, _ = couple(np.random.default_rng(1), base, kind)
    assert best_correlation(coupled) > best_correlation(unrelated) + 0.2


def test_sample_groups_follows_its_weights():
    rng = np.random.default_rng(11)
    base = rng.normal(size=(50, 3, MAX_LAG + 60))
    weights = dict.fromkeys(KINDS, 0.0) | {"unrelated": 1.0}
    x, known = sample_groups(rng, base, weights, inverted=0.0, noise_scale=1.0)
    np.testing.assert_array_equal(np.sort(x, axis=1), np.sort(base[..., MAX_LAG:], axis=1))
    assert not known.any()


def test_hierarchies_add_up():
    rng = np.random.default_rng(12)
    x, _ = couple(rng, rng.normal(size=(30, 4, MAX_LAG + 50)), "hierarchy")
    largest = x.sum(axis=-1).argmax(axis=1)
    for group, top in zip(x, largest, strict=True):
        np.testing.assert_allclose(group[top], np.delete(group, top, axis=0).sum(axis=0))


def test_phases_follow_one_another(data):
    later = [phase.from_chunk for phase in data.phases]
    assert later[0] == 0
    for phase, following in pairwise(data.phases):
        assert data.phase(phase.from_chunk) is phase
        assert data.phase(following.from_chunk - 1) is phase
    assert data.phase(10**6) is data.phases[-1]
    only_pairs = replace(data.phases[0], size_weights=(0, 1, 0, 0, 0, 0))
    assert {b.group_size for b in make_chunk(replace(data, phases=(only_pairs,)), 0)} == {2}


def test_chunks_depend_on_seed_and_number_alone(data):
    first, again, other = make_chunk(data, 3), make_chunk(data, 3), make_chunk(data, 4)
    assert len(first) == data.steps_per_chunk
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    assert not all(same(a, b) for a, b in zip(first, other, strict=True))
    reseeded = make_chunk(replace(data, seed=data.seed + 1), 3)
    assert not all(same(a, b) for a, b in zip(first, reseeded, strict=True))


@pytest.mark.parametrize("group_size", [1, 3])
@pytest.mark.parametrize("context_length", [16, 96, 2048])
def test_batches_hold_what_they_promise(data, context_length, group_size):
    config = replace(data, tokens_per_step=2048)
    rng = np.random.default_rng(13)
    batches = make_batches(rng, config, config.phase(0), context_length, 2, group_size, 4)
    assert len(batches) == 4
    lengths = []
    for batch in batches:
        rows = len(batch.context)
        assert batch.context.shape == (rows, context_length)
        assert batch.future.shape == (rows, 2 * PATCH)
        assert batch.context.dtype == batch.future.dtype == np.float32
        assert rows % group_size == 0
        assert rows <= config.max_series_per_step
        assert not batch.known.any() or group_size > 1
        # the future of a covariate is shown to the model, so that of a target must remain
        assert (~batch.known.reshape(-1, group_size)).any(axis=1).all()
        present = ~np.isnan(batch.context)
        lengths += list(context_length - present.argmax(axis=1)[present.any(axis=1)])
        assert not np.isinf(batch.context).any()
        # nothing is forecast from a constant history
        target = ~np.isnan(batch.future).all(axis=1) & ~batch.known
        history = batch.context[target]
        assert (np.nanmax(history, axis=1) > np.nanmin(history, axis=1)).all()
    assert max(lengths) == context_length
    assert min(lengths) >= 1
    assert len(set(lengths)) > 3
    assert np.isnan(np.concatenate([b.future for b in batches])).any() or context_length == 2048


def test_the_stream_resumes_where_it_was_left(data):
    steps = data.steps_per_chunk + 3
    with batch_stream(data, 0, steps) as stream:
        whole = list(stream)
    with batch_stream(data, data.steps_per_chunk - 2, steps) as stream:
        tail = list(stream)
    assert len(whole) == steps
    assert all(same(a, b) for a, b in zip(whole[-len(tail) :], tail, strict=True))
    assert len(tail) == 5
