"""Mean, standard deviation, minimum and maximum of motion, merged exactly over any number of shards.

Sums of float32 numbers and of their squares are integers in a tiny unit, so the result does not depend on how clips
are distributed over shards, nor on the order of merging.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from fractions import Fraction

import numpy as np

from joyvasa.runtime.parsing import parse_json

UNIT_BITS = 173  # sums count multiples of 2**-173; every float32 is one, as the smallest is 2**-149


@dataclass(frozen=True)
class ExactMoments:
    """Exact sums over the frames of a quantity, for each of its numbers."""

    count: int  # number of frames
    sums: tuple[int, ...]  # sums, in units of 2**-UNIT_BITS
    squares: tuple[int, ...]  # sums of squares, in units of 2**-(2 * UNIT_BITS)
    least: tuple[float, ...]  # minimum values
    largest: tuple[float, ...]  # maximum values

    @classmethod
    def from_values(cls, values: np.ndarray) -> ExactMoments:
        """Sum float32 values of shape (frames, numbers), at least one frame, all finite."""
        scaled = (values.T.astype(np.float64) * 2.0**UNIT_BITS).tolist()  # exact: a power of two, far from the limits
        columns = [[int(value) for value in column] for column in scaled]
        return cls(
            len(values),
            tuple(sum(column) for column in columns),
            tuple(sum(value * value for value in column) for column in columns),
            tuple(values.min(axis=0).tolist()),
            tuple(values.max(axis=0).tolist()),
        )

    def merge(self, other: ExactMoments) -> ExactMoments:
        """Merge with the moments of other frames."""
        return ExactMoments(
            self.count + other.count,
            tuple(a + b for a, b in zip(self.sums, other.sums, strict=True)),
            tuple(a + b for a, b in zip(self.squares, other.squares, strict=True)),
            tuple(map(min, self.least, other.least)),
            tuple(map(max, self.largest, other.largest)),
        )

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """Return statistics by the names of JoyVASA's template: mean_, std_ (over all frames), min_, max_, abs_max_."""
        means = [Fraction(total, self.count << UNIT_BITS) for total in self.sums]
        variances = [
            Fraction(total, self.count << (2 * UNIT_BITS)) - mean * mean
            for total, mean in zip(self.squares, means, strict=True)
        ]
        least, largest = np.asarray(self.least, np.float64), np.asarray(self.largest, np.float64)
        return {
            f"mean_{name}": np.asarray([float(mean) for mean in means]),
            f"std_{name}": np.asarray([math.sqrt(variance) for variance in variances]),
            f"min_{name}": least,
            f"max_{name}": largest,
            f"abs_max_{name}": np.maximum(np.abs(least), np.abs(largest)),
        }


def moments_to_json(moments: Mapping[str, ExactMoments]) -> str:
    """Serialize moments by name as JSON."""
    return json.dumps({name: asdict(item) for name, item in moments.items()})


def moments_from_json(text: str) -> dict[str, ExactMoments]:
    """Parse the output of `moments_to_json`.

    Raises:
        ValueError: the text has another format.
    """
    result = {}
    for name, item in parse_json(text).items():
        count, *lists = (item[field.name] for field in fields(ExactMoments))
        if not isinstance(count, int) or len({len(values) for values in lists}) != 1:
            raise ValueError(f"moments of {name} differ in length")
        result[name] = ExactMoments(count, *(tuple(values) for values in lists))
    return result


def merge_moments(parts: list[Mapping[str, ExactMoments]]) -> dict[str, ExactMoments]:
    """Merge moments by name; parts without a name are skipped for it."""
    result: dict[str, ExactMoments] = {}
    for part in parts:
        for name, moments in part.items():
            result[name] = result[name].merge(moments) if name in result else moments
    return result
