"""Summaries with bootstrap intervals, and histograms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RESAMPLES = 1000
MAX_BLOCKS = 1000  # maximum number of blocks to resample; more values than that are distributed over the blocks
CACHED_DRAWS = 4  # number of cached sets of draws, at most 8 MB each
CONFIDENCE = 0.95
BINS = 40
TAIL = 0.001  # fraction of the values at either end that may lie outside of a plot, so that outliers do not flatten it


@dataclass(frozen=True)
class Summary:
    """The summary of a set of values; all fields are None if it is empty.

    Args:
        n: number of values.
        mean, median, minimum, maximum: statistics of the values.
        low, high: ends of the bootstrap interval of the mean; None for a single value.
        deviation: sample standard deviation; None for a single value.
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
    """A histogram."""

    edges: np.ndarray  # edges of the bins, ascending, shape (bins + 1,)
    counts: np.ndarray  # number of values in each bin, shape (bins,)
    # below, above: number of values outside of the bins
    below: int = 0
    above: int = 0


class Bootstrap:
    """Percentile intervals of means (Efron, Bootstrap methods: another look at the jackknife, 1979).

    Up to 1000 values are resampled individually. More values are distributed at random over 1000 blocks of nearly equal
    size, and blocks are resampled: the variance of the mean is the same, and the cost does not grow with the run.

    Args:
        seed: seed of all draws; the same values give the same interval.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._draws: dict[int, np.ndarray] = {}

    def compute_interval(self, values: np.ndarray) -> tuple[float, float] | None:
        """Return the 95 % interval of the mean of finite values; None for fewer than two values."""
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

        draws = self._draw_counts(n_blocks)
        means = (draws @ sums) / (draws @ sizes)
        low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        return float(low), float(high)

    def summarize(self, values: np.ndarray) -> Summary:
        """Summarize the finite values."""
        values = values[np.isfinite(values)]
        if not len(values):
            return Summary()
        low, high = self.compute_interval(values) or (None, None)
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

    def _draw_counts(self, n: int) -> np.ndarray:
        """Return how often each of n blocks is drawn in each resample: float64, shape (resamples, n)."""
        if n not in self._draws:
            random = np.random.default_rng([self._seed, n, 1])
            drawn = random.integers(n, size=(RESAMPLES, n)) + np.arange(RESAMPLES)[:, None] * n
            counts = np.bincount(drawn.ravel(), minlength=RESAMPLES * n)
            while len(self._draws) >= CACHED_DRAWS:
                del self._draws[next(iter(self._draws))]
            self._draws[n] = counts.reshape(RESAMPLES, n).astype(np.float64)
        return self._draws[n]


def compute_histogram_edges(sets: list[np.ndarray]) -> np.ndarray | None:
    """Return the edges of common bins for several sets of values; None if all sets are empty.

    If all values are integers within a small range, each integer gets one bin.
    """
    values = np.concatenate([values[np.isfinite(values)] for values in sets]) if sets else np.zeros(0)
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


def compute_histogram(values: np.ndarray, edges: np.ndarray) -> Histogram:
    """Count the finite values in bins."""
    values = values[np.isfinite(values)]
    counts, _ = np.histogram(values, edges)
    return Histogram(edges, counts, int((values < edges[0]).sum()), int((values > edges[-1]).sum()))
