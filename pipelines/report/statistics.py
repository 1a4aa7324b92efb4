"""Means with intervals, and how numbers are spread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RESAMPLES = 1000
MAX_BLOCKS = 1000  # that are drawn from; more values than that are dealt out to as many blocks
KEPT_DRAWS = 4  # sets of draws, 8 MB each at most
CONFIDENCE = 0.95
BINS = 40
TAIL = 0.001  # of the numbers at either end may lie outside of a plot, so that a few do not flatten the others


@dataclass(frozen=True)
class Summary:
    """What a set of numbers comes to; all None where there is none.

    Args:
        n: numbers.
        mean, median, deviation, minimum, maximum: of them; the deviation is that of a sample, None for one number.
        low, high: ends of the bootstrap interval of the mean, None for one number.
    """

    n: int = 0
    mean: float | None = None
    median: float | None = None
    low: float | None = None
    high: float | None = None
    deviation: float | None = None
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True)
class Histogram:
    """Counts of numbers.

    Args:
        edges: of the bins, ascending, shape (bins + 1,).
        counts: shape (bins,).
        below, above: numbers outside.
    """

    edges: np.ndarray
    counts: np.ndarray
    below: int = 0
    above: int = 0


class Bootstrap:
    """Percentile intervals of means (Efron, Bootstrap methods: another look at the jackknife, 1979).

    Up to 1000 values are resampled one by one. More are dealt at random into 1000 blocks of like size, and blocks are
    resampled: the variance of the mean is the same, and the effort does not grow with the run.

    Args:
        seed: of all draws; the same numbers give the same interval.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._draws: dict[int, np.ndarray] = {}

    def interval(self, values: np.ndarray) -> tuple[float, float] | None:
        """The 95 % interval of the mean; None for fewer than two values.

        Args:
            values: finite, shape (n,).
        """
        n = len(values)
        if n < 2:
            return None
        n_blocks = min(n, MAX_BLOCKS)
        if n > n_blocks:
            block = np.random.default_rng([self._seed, n]).permutation(n) % n_blocks
            sums = np.bincount(block, weights=values, minlength=n_blocks)
            sizes = np.bincount(block, minlength=n_blocks).astype(np.float64)
        else:
            sums, sizes = values, np.ones(n)
        draws = self._times_drawn(n_blocks)
        means = (draws @ sums) / (draws @ sizes)
        low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        return float(low), float(high)

    def summary(self, values: np.ndarray) -> Summary:
        """The summary of numbers, of which NaN are left out."""
        values = values[np.isfinite(values)]
        if not len(values):
            return Summary()
        low, high = self.interval(values) or (None, None)
        return Summary(
            n=len(values),
            mean=float(values.mean()),
            median=float(np.median(values)),
            low=low,
            high=high,
            deviation=float(values.std(ddof=1)) if len(values) > 1 else None,
            minimum=float(values.min()),
            maximum=float(values.max()),
        )

    def _times_drawn(self, n: int) -> np.ndarray:
        """How often each of n blocks is drawn in each resample: float64, shape (resamples, n)."""
        if n not in self._draws:
            random = np.random.default_rng([self._seed, n, 1])
            drawn = random.integers(n, size=(RESAMPLES, n)) + np.arange(RESAMPLES)[:, None] * n
            counts = np.bincount(drawn.ravel(), minlength=RESAMPLES * n)
            while len(self._draws) >= KEPT_DRAWS:
                del self._draws[next(iter(self._draws))]
            self._draws[n] = counts.reshape(RESAMPLES, n).astype(np.float64)
        return self._draws[n]


def histogram_edges(sets: list[np.ndarray]) -> np.ndarray | None:
    """Bins that suit several sets of numbers; None where there are none.

    Few distinct whole numbers get a bin each.
    """
    values = np.concatenate([one[np.isfinite(one)] for one in sets]) if sets else np.zeros(0)
    if not len(values):
        return None
    low, high = np.quantile(values, [TAIL, 1 - TAIL]) if len(values) * TAIL >= 1 else (values.min(), values.max())
    if low == high:
        low, high = values.min(), values.max()
    if low == high:
        margin = abs(low) * 0.05 or 0.5
        return np.array([low - margin, low + margin])
    if high - low < BINS and (values == np.round(values)).all():
        return np.arange(np.floor(low) - 0.5, np.ceil(high) + 1)
    n_bins = int(np.clip(2 * np.sqrt(len(values)), 5, BINS))
    return np.linspace(low, high, n_bins + 1)


def histogram(values: np.ndarray, edges: np.ndarray) -> Histogram:
    """Counts of the numbers that are not NaN in given bins."""
    values = values[np.isfinite(values)]
    counts, _ = np.histogram(values, edges)
    return Histogram(edges, counts, int((values < edges[0]).sum()), int((values > edges[-1]).sum()))
