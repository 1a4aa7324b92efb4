"""Fréchet distance between two sets of features, from moments that are computed per shard and merged exactly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from joyvasa.errors import InputError
from joyvasa.metrics.base import NotMeasured


@dataclass(eq=False)
class FeatureMoments:
    """Count, mean and scatter of features."""

    count: int  # number of samples
    mean: np.ndarray  # mean of the features, shape (features,), float64
    scatter: np.ndarray  # sum of outer products of deviations from the mean, shape (features, features), float64

    @staticmethod
    def empty(n_features: int) -> FeatureMoments:
        """Return the moments of zero samples, the identity of `merge`."""
        return FeatureMoments(0, np.zeros(n_features), np.zeros((n_features, n_features)))

    @staticmethod
    def from_features(features: np.ndarray) -> FeatureMoments:
        """Compute the moments of samples.

        Args:
            features: samples, shape (samples, features); may be empty.

        Raises:
            ValueError: another shape.
        """
        if features.ndim != 2:
            raise ValueError(f"features have shape {features.shape}; expected (samples, features)")
        if not len(features):
            return FeatureMoments.empty(features.shape[1])
        values = features.astype(np.float64)
        mean = values.mean(axis=0)
        deviations = values - mean
        return FeatureMoments(len(values), mean, deviations.T @ deviations)

    def add(self, features: np.ndarray) -> None:
        """Add samples, shape (samples, features)."""
        self.merge(FeatureMoments.from_features(features))

    def merge(self, other: FeatureMoments) -> None:
        """Merge another set in place; independent of order and grouping up to rounding (Chan et al. 1979).

        Raises:
            InputError: `features_mismatch`.
        """
        _check_sizes(self, other)
        count = self.count + other.count
        if not other.count:
            return
        difference = other.mean - self.mean
        between = np.outer(difference, difference) * (self.count * other.count / count)
        self.scatter = self.scatter + other.scatter + between
        self.mean = self.mean + difference * (other.count / count)
        self.count = count

    def covariance(self, ddof: int) -> np.ndarray:
        """Return the scatter divided by count - ddof, shape (features, features)."""
        return self.scatter / (self.count - ddof)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return arrays for `numpy.savez`."""
        return {"count": np.asarray(self.count, dtype=np.int64), "mean": self.mean, "scatter": self.scatter}

    @staticmethod
    def from_arrays(arrays: Mapping[str, np.ndarray], where: str) -> FeatureMoments:
        """Restore moments from the arrays of `to_arrays`.

        Args:
            arrays: arrays by name, for example a file opened with `numpy.load`.
            where: name of the file for error messages.

        Raises:
            InputError: `moments_damaged`.
        """
        try:
            count, mean, scatter = (np.asarray(arrays[name]) for name in ("count", "mean", "scatter"))
        except (KeyError, ValueError, OSError, EOFError) as error:
            raise _damaged(where, str(error) or type(error).__name__) from None
        if count.shape != () or count.dtype.kind not in "iu" or int(count) < 0:
            raise _damaged(where, "its count is not an integer of at least 0")
        if mean.ndim != 1 or scatter.shape != mean.shape * 2 or {mean.dtype.str, scatter.dtype.str} != {"<f8"}:
            raise _damaged(where, f"its arrays have shapes {mean.shape} and {scatter.shape}, {scatter.dtype}")
        if not (np.isfinite(mean).all() and np.isfinite(scatter).all()):
            raise _damaged(where, "it holds numbers that are not finite")
        return FeatureMoments(int(count), mean, scatter)


def frechet_distance(first: FeatureMoments, second: FeatureMoments, *, ddof: int) -> float | NotMeasured:
    """Compute the squared Fréchet distance of two normal distributions with the moments of the samples.

    |m1 - m2|² + tr S1 + tr S2 - 2 tr (S1 S2)^½ (Dowson and Landau 1982). The last trace is computed as the sum of the
    square roots of the eigenvalues of S1^½ S2 S1^½, which is symmetric, unlike S1 S2.

    Args:
        first: moments of the first set.
        second: moments of the second set, with features of the same network.
        ddof: 1 divides the scatter by n - 1, 0 by n.

    Returns:
        The distance, at least 0, or the reason for no value: fewer than two samples have no covariance.

    Raises:
        InputError: `features_mismatch`.
    """
    _check_sizes(first, second)
    fewest = min(first.count, second.count)
    if fewest < 2:
        return NotMeasured(
            "too_few_samples", f"a set of {fewest} samples has no covariance; expected at least 2 in each"
        )
    covariance, other = first.covariance(ddof), second.covariance(ddof)
    root = _square_root(covariance)
    eigenvalues = np.linalg.eigvalsh(root @ other @ root)
    overlap = np.sqrt(eigenvalues.clip(min=0)).sum()
    distance = np.square(first.mean - second.mean).sum() + np.trace(covariance) + np.trace(other) - 2 * overlap
    return max(float(distance), 0.0)


def _square_root(covariance: np.ndarray) -> np.ndarray:
    """Return the symmetric square root; negative eigenvalues are rounding errors."""
    eigenvalues, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(eigenvalues.clip(min=0))) @ vectors.T


def _check_sizes(first: FeatureMoments, second: FeatureMoments) -> None:
    if first.mean.size != second.mean.size:
        sentence = f"sets with {first.mean.size} and {second.mean.size} features; expected equal numbers"
        raise InputError("features_mismatch", f"{sentence}: score their videos again")


def _damaged(where: str, found: str) -> InputError:
    return InputError("moments_damaged", f"{where}: {found}: delete it and score its videos again")
