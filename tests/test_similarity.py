"""Similarities against scipy, scikit-learn and a loop over pairs, and their properties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn.metrics.pairwise import cosine_similarity, euclidean_distances
from sklearn.preprocessing import minmax_scale

from chronos2_attention.errors import InputError
from chronos2_attention.similarity import (
    MEASURES,
    SimilaritySettings,
    similarity,
    similarity_blocks,
)


def walks(n: int, length: int, seed: int = 0) -> np.ndarray:
    """Random walks that share a part, shape (n, length)."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(size=length).cumsum()
    return rng.normal(size=(n, length)).cumsum(axis=1) + rng.normal(size=(n, 1)) * shared


def ragged(n: int, length: int, seed: int = 0, missing: float = 0.2) -> list[np.ndarray]:
    """Walks of different lengths with gaps, some shorter than any overlap may be, one constant."""
    rng = np.random.default_rng(seed)
    series = []
    for walk in walks(n, length, seed):
        one = walk[length - rng.integers(1, length + 1) :].copy()
        one[rng.random(len(one)) < missing] = np.nan
        series.append(one)
    series[n // 2] = np.full(length, 3.25)
    return series


def one_pair(left, right, measure, settings):
    """The definition, for one pair of series."""
    both = min(len(left), len(right))
    if both:
        a, b = left[-both:], right[-both:]
    else:
        a = b = np.empty(0)
    common = np.isfinite(a) & np.isfinite(b)
    if common.sum() < settings.min_common:
        return settings.no_evidence
    if measure == "distance":
        scaled = []
        for whole, part in ((left, a), (right, b)):
            seen = whole[np.isfinite(whole)]
            if np.ptp(seen) == 0:
                return settings.no_evidence
            scaled.append((part[common] - seen.min()) / np.ptp(seen))
        scale = settings.distance_scale or np.sqrt(common.sum())
        return np.exp(-np.linalg.norm(scaled[0] - scaled[1]) / scale)
    a, b = a[common], b[common]
    if measure == "correlation":
        if np.ptp(a) == 0 or np.ptp(b) == 0:
            return settings.no_evidence
        return (pearsonr(a, b).statistic + 1) / 2
    if not a.any() or not b.any():
        return settings.no_evidence
    return (a @ b / np.linalg.norm(a) / np.linalg.norm(b) + 1) / 2


def by_pairs(series, measure, settings):
    found = np.array([[one_pair(a, b, measure, settings) for b in series] for a in series])
    np.fill_diagonal(found, 1.0)
    return found


def test_complete_series_equal_numpy_and_scikit_learn():
    matrix = walks(40, 200)
    expected = {
        "correlation": (np.corrcoef(matrix) + 1) / 2,
        "cosine": (cosine_similarity(matrix) + 1) / 2,
        "distance": np.exp(-euclidean_distances(minmax_scale(matrix, axis=1)) / np.sqrt(200)),
    }
    for measure in MEASURES:
        np.testing.assert_allclose(similarity(matrix, measure), expected[measure], atol=1e-6)
    fixed = similarity(matrix, "distance", SimilaritySettings(distance_scale=2.5))
    expected = np.exp(-euclidean_distances(minmax_scale(matrix, axis=1)) / 2.5)
    np.testing.assert_allclose(fixed, expected, atol=1e-6)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize(
    "settings",
    [SimilaritySettings(), SimilaritySettings(2, 0.125, 3.0), SimilaritySettings(min_common=40)],
    ids=["default", "other", "strict"],
)
def test_ragged_series_equal_a_loop_over_pairs(measure, missing, settings):
    series = ragged(30, 60, missing=missing)
    expected = by_pairs(series, measure, settings)
    np.testing.assert_allclose(similarity(series, measure, settings), expected, atol=1e-9)
    assert (expected == settings.no_evidence).any()
    longest = max(map(len, series))
    padded = np.array([np.r_[np.full(longest - len(s), np.nan), s] for s in series])
    np.testing.assert_array_equal(
        similarity(padded, measure, settings), similarity(series, measure, settings)
    )


@pytest.mark.parametrize("measure", MEASURES)
def test_infinite_values_are_missing(measure):
    series = ragged(8, 50, missing=0.3)
    infinite = [np.where(np.isnan(s), np.resize([np.inf, -np.inf], len(s)), s) for s in series]
    np.testing.assert_array_equal(similarity(series, measure), similarity(infinite, measure))


@pytest.mark.parametrize("measure", MEASURES)
def test_no_evidence(measure):
    line = np.arange(10.0) + 1
    series = {
        "line": line,
        "short": line[-7:],
        "empty": np.empty(0),
        "missing": np.full(10, np.nan),
        "constant": np.zeros(10),
    }
    found = similarity(list(series.values()), measure, SimilaritySettings(no_evidence=0.25))
    expected = np.full((5, 5), 0.25)
    np.fill_diagonal(expected, 1.0)
    np.testing.assert_array_equal(found, expected)
    assert similarity([], measure).shape == (0, 0)
    assert list(similarity_blocks([], measure)) == []


@pytest.mark.parametrize("measure", MEASURES)
def test_identical_series_have_similarity_one(measure):
    matrix = np.repeat(walks(1, 300, seed=3), 5, axis=0)
    gaps = matrix.copy()
    for row in range(5):
        gaps[row, : 20 * row] = np.nan
    np.testing.assert_allclose(similarity(matrix, measure), 1.0, atol=1e-12)
    if measure != "distance":  # each is scaled over what it observes itself
        np.testing.assert_allclose(similarity(gaps, measure), 1.0, atol=1e-12)
    gaps[:] = matrix
    gaps[0, 100] = np.nan
    np.testing.assert_allclose(similarity(gaps, measure), 1.0, atol=1e-12)


def test_near_twins_are_told_apart_by_their_true_distance():
    first = walks(1, 400, seed=5)[0]
    first = (first - first.min()) / np.ptp(first)
    second = first.copy()
    second[np.argsort(first)[200]] += 1e-7
    for series in ([first, second], [first, second, first[-300:]]):
        found = similarity(series, "distance", SimilaritySettings(distance_scale=1.0))
        np.testing.assert_allclose(-np.log(found[0, 1]), 1e-7, rtol=1e-6)


@pytest.mark.parametrize("offset", [0.0, 1e9])
@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e280])
def test_extreme_values_neither_overflow_nor_cancel(offset, scale):
    series = ragged(12, 80, missing=0.2)
    moved = [(s + offset) * scale for s in series]
    for measure in ("correlation", "distance"):
        found = similarity(moved, measure)
        np.testing.assert_allclose(found, similarity(series, measure), atol=1e-6)


def test_a_level_that_shifts_before_the_overlap_does_not_disturb_correlation():
    long, short = walks(2, 400, seed=7)
    shifted = long.copy()
    shifted[:300] += 1e7
    short = short[-100:]
    expected = (pearsonr(long[-100:], short).statistic + 1) / 2
    np.testing.assert_allclose(
        similarity([shifted, short], "correlation")[0, 1], expected, atol=1e-6
    )


series_lists = st.builds(
    ragged,
    st.integers(1, 12),
    st.integers(1, 60),
    st.integers(0, 10_000),
    st.sampled_from([0, 0.3]),
)


@given(series_lists, st.sampled_from(MEASURES), st.integers(1, 12))
def test_symmetric_in_range_diagonal_one_in_blocks_of_any_size(series, measure, rows_at_once):
    found = similarity(series, measure)
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(np.diag(found), 1.0)
    assert ((found >= 0) & (found <= 1)).all()
    blocks = list(similarity_blocks(series, measure, rows_at_once=rows_at_once))
    assert [rows.start for rows, _ in blocks] == list(range(0, len(series), rows_at_once))
    assert all(len(block) <= rows_at_once for _, block in blocks)
    np.testing.assert_allclose(np.concatenate([block for _, block in blocks]), found, atol=1e-12)


@given(series_lists, st.sampled_from(MEASURES), st.randoms(use_true_random=False))
def test_order_of_the_series_does_not_matter(series, measure, random):
    order = list(range(len(series)))
    random.shuffle(order)
    found = similarity([series[i] for i in order], measure)
    np.testing.assert_allclose(found, similarity(series, measure)[np.ix_(order, order)], atol=1e-12)


@given(series_lists, st.floats(-1e3, 1e3), st.floats(1e-3, 1e3))
def test_offset_and_unit_do_not_matter(series, offset, unit):
    moved = [s * unit + offset for s in series]
    for measure in ("correlation", "distance"):
        np.testing.assert_allclose(
            similarity(moved, measure), similarity(series, measure), atol=1e-7
        )
    scaled = [s * unit for s in series]
    np.testing.assert_allclose(
        similarity(scaled, "cosine"), similarity(series, "cosine"), atol=1e-9
    )


def test_more_columns_than_a_tile_holds(monkeypatch):
    series = ragged(30, 40)
    expected = {measure: similarity(series, measure) for measure in MEASURES}
    monkeypatch.setattr("chronos2_attention.similarity.COLUMNS_AT_ONCE", 7)
    monkeypatch.setattr("chronos2_attention.similarity.PAIRS_AT_ONCE", 50)
    for measure in MEASURES:
        np.testing.assert_allclose(similarity(series, measure), expected[measure], atol=1e-12)
    np.testing.assert_allclose(similarity([series[0]] * 9, "distance"), 1.0, atol=1e-12)


@pytest.mark.parametrize(
    ("key", "value"),
    [("min_common", 0), ("no_evidence", 1.5), ("no_evidence", float("nan")), ("distance_scale", 0)],
)
def test_settings_out_of_range_are_refused(key, value):
    with pytest.raises(InputError, match=key):
        SimilaritySettings(**{key: value})


def test_what_is_no_measure_or_no_series_is_refused():
    with pytest.raises(InputError, match="unknown similarity 'angle'"):
        similarity(np.zeros((2, 9)), "angle")
    with pytest.raises(InputError, match=r"series 1 has shape \(2, 3\)"):
        similarity([np.zeros(3), np.zeros((2, 3))], "cosine")
