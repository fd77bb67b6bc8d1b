"""How similar the series of a batch are, judged on their contexts alone. Needs NumPy only.

Sums over the points that two series share are matrix products, so that all pairs of ten thousand
series cost seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .errors import InputError
from .variants.soft import MEASURES  # named there, where no NumPy is needed to read a name

__all__ = ["MEASURES", "SimilaritySettings", "similarity", "similarity_blocks"]

# Columns of a tile: its temporary arrays stay small whatever the number of series.
COLUMNS_AT_ONCE = 2048
# Share of a sum of squares below which its variance is rounding, that is, none.
CONSTANT = 1e-10
# Mean squared difference of min-max scaled series below which it is taken again, directly.
CLOSE = 1e-8
# Most values in the arrays of directly taken differences.
PAIRS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class SimilaritySettings:
    """What counts as evidence, and the unit of distances; out of range they are an `InputError`.

    Parameters
    ----------
    min_common:
        Fewest points that two series must both observe.
    no_evidence:
        Similarity of pairs with fewer, or with a constant series; in [0, 1].
    distance_scale:
        Unit of Euclidean distances between min-max scaled series. None takes the square root of
        the number of common points, so that distance over scale is the root mean square
        difference and pairs with long and short overlaps compare.
    """

    min_common: int = 8
    no_evidence: float = 0.5
    distance_scale: float | None = None

    def __post_init__(self) -> None:
        scale = self.distance_scale
        for key, holds, mend in (
            ("min_common", self.min_common >= 1, "1 or more"),
            ("no_evidence", 0 <= self.no_evidence <= 1, "a number from 0 to 1"),
            ("distance_scale", scale is None or 0 < scale < math.inf, "a number above 0, or null"),
        ):
            if not holds:
                value = getattr(self, key)
                raise InputError(f"{key} is {value!r}", f"similarity.{key}", f"give {mend}")


def similarity(
    series: Sequence[np.ndarray] | np.ndarray,
    measure: str,
    settings: SimilaritySettings | None = None,
) -> np.ndarray:
    """Return the similarity of every series to every other.

    Series are aligned at their end, the cutoff, and a pair is compared on the points that both
    observe:

    - ``correlation``: (rho + 1) / 2 with Pearson's rho
    - ``cosine``: (c + 1) / 2 with c the cosine of the angle between the two
    - ``distance``: exp(-d / scale), with d the Euclidean distance between series that are each
      scaled to [0, 1] over all they observe

    A pair has no evidence where it shares fewer than `min_common` points, or where a series is
    constant on them (``correlation``), zero on them (``cosine``) or constant throughout
    (``distance``).

    `series` are one-dimensional arrays of any lengths, or a matrix (n, time) padded with NaN on the
    left; NaN and infinite values are missing. `measure` is one of `MEASURES`; another one, or a
    series of more dimensions, is an `InputError`. The result is float64, shape (n, n): exactly
    symmetric, in [0, 1], with a diagonal of 1.
    """
    prepared = _Prepared(series, measure, settings or SimilaritySettings())
    upper = np.triu(prepared.rows(slice(0, prepared.n)), k=1)
    found = upper + upper.T
    np.fill_diagonal(found, 1.0)
    return found


def similarity_blocks(
    series: Sequence[np.ndarray] | np.ndarray,
    measure: str,
    settings: SimilaritySettings | None = None,
    rows_at_once: int = 1024,
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the matrix of `similarity` in blocks of rows, so that it is never held whole.

    A block is the rows and their similarities to all series, float64, shape (rows, n), equal to
    those of `similarity` up to rounding.
    """
    prepared = _Prepared(series, measure, settings or SimilaritySettings())
    for start in range(0, prepared.n, rows_at_once):
        rows = slice(start, min(start + rows_at_once, prepared.n))
        yield rows, prepared.rows(rows)


class _Prepared:
    """Series shifted and scaled for one measure, with what sums over common points need.

    `values` (n, time) are zero where nothing is observed, so that a product of two rows sums over
    their common points. Where all observe the same, sums belong to a row, otherwise to a pair.
    """

    def __init__(self, series, measure: str, settings: SimilaritySettings) -> None:
        if measure not in MEASURES:
            raise InputError(f"unknown similarity {measure!r}", "", f"known: {', '.join(MEASURES)}")
        prepare, self.compare = _MEASURES[measure]
        self.settings = settings
        matrix = _matrix(series)
        self.n = len(matrix)
        observed = np.isfinite(matrix)
        self.same_points = bool(self.n) and bool((observed == observed[0]).all())
        if self.same_points:
            matrix = np.ascontiguousarray(matrix[:, observed[0]])
            observed = np.ones(matrix.shape, dtype=bool)
        self.values = prepare(matrix, observed)
        self.squares = self.values**2
        self.mask = None if self.same_points else observed.astype(np.float64)

    def rows(self, rows: slice) -> np.ndarray:
        """Return the similarities of some rows to all series, shape (rows, n)."""
        block = np.empty((rows.stop - rows.start, self.n))
        for start in range(0, self.n, COLUMNS_AT_ONCE):
            columns = slice(start, min(start + COLUMNS_AT_ONCE, self.n))
            block[:, columns] = self._tile(rows, columns)
        own = np.arange(rows.start, rows.stop)
        block[own - rows.start, own] = 1.0
        return block

    def _tile(self, rows: slice, columns: slice) -> np.ndarray:
        mask = self.mask
        # Common points of each pair, or of all where it is the same.
        common = float(self.values.shape[1]) if mask is None else mask[rows] @ mask[columns].T
        products = self.values[rows] @ self.values[columns].T
        found, evidence = self.compare(self, rows, columns, common, products)
        evidence = evidence & (common >= self.settings.min_common)
        return np.where(evidence, found, self.settings.no_evidence)

    def _sums(
        self, array: np.ndarray, rows: slice, columns: slice
    ) -> tuple[np.ndarray, np.ndarray]:
        """Sum the array of each row, and of each column, over the common points of a pair."""
        if self.mask is None:
            return array[rows].sum(axis=1)[:, None], array[columns].sum(axis=1)[None, :]
        return array[rows] @ self.mask[columns].T, self.mask[rows] @ array[columns].T

    def correlation(self, rows: slice, columns: slice, common, products):
        row_sums, column_sums = self._sums(self.values, rows, columns)
        row_squares, column_squares = self._sums(self.squares, rows, columns)
        shared = np.maximum(common, 1.0)
        row_variance = row_squares - row_sums**2 / shared
        column_variance = column_squares - column_sums**2 / shared
        evidence = (row_variance > CONSTANT * row_squares) & (
            column_variance > CONSTANT * column_squares
        )
        products -= row_sums * column_sums / shared
        return _from_cosine(products, row_variance, column_variance, evidence), evidence

    def cosine(self, rows: slice, columns: slice, common, products):
        row_squares, column_squares = self._sums(self.squares, rows, columns)
        evidence = (row_squares > 0) & (column_squares > 0)
        return _from_cosine(products, row_squares, column_squares, evidence), evidence

    def distance(self, rows: slice, columns: slice, common, products):
        row_squares, column_squares = self._sums(self.squares, rows, columns)
        squared = row_squares + column_squares
        squared -= 2.0 * products
        usable = self.values.max(axis=1, initial=0.0) > 0  # a constant series was scaled to zeros
        evidence = usable[rows, None] & usable[None, columns]
        # The difference of large sums says nothing about near twins: take theirs directly.
        close = evidence & (squared < CLOSE * common) & (row_squares + column_squares > 0)
        self._retake(squared, rows, columns, close)
        distance = np.sqrt(np.maximum(squared, 0.0))
        scale = self.settings.distance_scale
        if scale is None:
            scale = np.sqrt(np.maximum(common, 1.0))
        return np.exp(-distance / scale), evidence

    def _retake(self, squared: np.ndarray, rows: slice, columns: slice, close: np.ndarray) -> None:
        """Replace the squared distances of the pairs `close` by sums of squared differences."""
        first, second = np.nonzero(close)
        step = max(1, PAIRS_AT_ONCE // max(1, self.values.shape[1]))
        for start in range(0, len(first), step):
            here, there = first[start : start + step], second[start : start + step]
            left, right = here + rows.start, there + columns.start
            difference = self.values[left] - self.values[right]
            if self.mask is not None:
                difference *= self.mask[left] * self.mask[right]
            squared[here, there] = np.einsum("pt,pt->p", difference, difference)


def _from_cosine(
    products: np.ndarray, row_squares: np.ndarray, column_squares: np.ndarray, evidence: np.ndarray
) -> np.ndarray:
    """Return (c + 1) / 2 with c = products / (norm of the row's, norm of the column's)."""
    norms = np.sqrt(np.maximum(row_squares, 0.0)) * np.sqrt(np.maximum(column_squares, 0.0))
    cosines = np.divide(products, norms, out=products, where=evidence & (norms > 0))
    return (np.clip(cosines, -1.0, 1.0) + 1.0) / 2.0


def _matrix(series: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """Lay out series as a float64 matrix that ends with each, NaN before shorter ones begin."""
    if isinstance(series, np.ndarray) and series.ndim == 2:
        return series.astype(np.float64)
    arrays = [np.asarray(item, dtype=np.float64) for item in series]
    for index, array in enumerate(arrays):
        if array.ndim != 1:
            raise InputError(f"series {index} has shape {array.shape}", "", "give 1-D arrays")
    matrix = np.full((len(arrays), max(map(len, arrays), default=0)), np.nan)
    for row, array in zip(matrix, arrays, strict=True):
        row[len(row) - len(array) :] = array
    return matrix


def _in_range(matrix: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Scale each row by a power of two, which is exact, so that no square over- or underflows."""
    largest = np.abs(np.where(observed, matrix, 0.0)).max(axis=1, initial=0.0)
    exponent = np.frexp(largest)[1]
    with np.errstate(invalid="ignore"):
        return np.where(observed, np.ldexp(matrix, -exponent[:, None]), 0.0)


def _for_correlation(matrix: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Take each series relative to its last observation, so that sums of squares stay exact.

    A pair's common points hold it nearly always, a zero then: the mean over them is at most sqrt(n)
    standard deviations from zero, and subtracting it cancels little.
    """
    values = _in_range(matrix, observed)
    if not values.size:
        return values
    last = values.shape[1] - 1 - observed[:, ::-1].argmax(axis=1)
    values = np.where(observed, values - values[np.arange(len(values)), last][:, None], 0.0)
    return _in_range(values, observed)


def _for_distance(matrix: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Scale each series to [0, 1] over all that it observes, constant ones to 0."""
    values = _in_range(matrix, observed)
    low = np.where(observed, values, np.inf).min(axis=1, initial=np.inf)
    high = np.where(observed, values, -np.inf).max(axis=1, initial=-np.inf)
    usable = high > low
    low, span = np.where(usable, low, 0.0), np.where(usable, high - low, 1.0)
    scaled = (values - low[:, None]) / span[:, None]
    return np.where(observed & usable[:, None], scaled, 0.0)


_MEASURES = {
    "correlation": (_for_correlation, _Prepared.correlation),
    "cosine": (_in_range, _Prepared.cosine),
    "distance": (_for_distance, _Prepared.distance),
}
