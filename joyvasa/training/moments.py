"""Mean, deviation, least and largest value of motion, joined exactly over any number of shards.

Sums of float32 numbers and of their squares are kept as whole numbers, so the result does not depend
on how the clips are spread over shards, nor on the order in which they are joined.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

MANTISSA_BITS = 24  # of a float32
# Sums count multiples of 2**-UNIT_BITS: below the smallest float32, 2**-149, written with a full mantissa.
UNIT_BITS = 149 + MANTISSA_BITS


@dataclass(frozen=True)
class Moments:
    """Sums over the frames of one quantity, for each of its numbers.

    Args:
        count: frames.
        sums: in units of 2**-UNIT_BITS.
        squares: sums of squares, in units of 2**-(2 * UNIT_BITS).
        least: smallest values.
        largest: largest values.
    """

    count: int
    sums: tuple[int, ...]
    squares: tuple[int, ...]
    least: tuple[float, ...]
    largest: tuple[float, ...]

    @classmethod
    def of(cls, values: np.ndarray) -> Moments:
        """Of float32 values of shape (frames, numbers), at least one frame, all finite."""
        mantissas, exponents = np.frexp(values.astype(np.float64))
        whole = (mantissas * 2**MANTISSA_BITS).astype(np.int64)  # exact: a float32 has no more bits
        high, low = np.divmod(whole * whole, 2**MANTISSA_BITS)  # so that sums stay below 2**63
        sums, squares = [0] * values.shape[1], [0] * values.shape[1]
        for exponent in np.unique(exponents):
            here = exponents == exponent
            shift = int(exponent) - MANTISSA_BITS + UNIT_BITS
            parts = [np.where(here, part, 0).sum(axis=0).tolist() for part in (whole, high, low)]
            for number, (first, second, third) in enumerate(zip(*parts, strict=True)):
                sums[number] += first << shift
                squares[number] += ((second << MANTISSA_BITS) + third) << (2 * shift)
        return cls(
            len(values),
            tuple(sums),
            tuple(squares),
            tuple(values.min(axis=0).tolist()),
            tuple(values.max(axis=0).tolist()),
        )

    def joined(self, other: Moments) -> Moments:
        """Of the frames of both."""
        return Moments(
            self.count + other.count,
            tuple(a + b for a, b in zip(self.sums, other.sums, strict=True)),
            tuple(a + b for a, b in zip(self.squares, other.squares, strict=True)),
            tuple(map(min, self.least, other.least)),
            tuple(map(max, self.largest, other.largest)),
        )

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """By the names of JoyVASA's template: mean_, std_ (over all frames), min_, max_, abs_max_; float64."""
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


def moments_text(moments: Mapping[str, Moments]) -> str:
    """Moments by name as JSON."""
    return json.dumps({name: {key: getattr(item, key) for key in Moments.__match_args__} for name, item in
                       moments.items()})  # fmt: skip


def read_moments(text: str) -> dict[str, Moments]:
    """What `moments_text` wrote.

    Raises:
        ValueError: the text is something else.
    """
    result = {}
    for name, item in json.loads(text).items():
        count, *lists = (item[key] for key in Moments.__match_args__)
        if not isinstance(count, int) or len({len(values) for values in lists}) != 1:
            raise ValueError(f"moments of {name} have several lengths")
        result[name] = Moments(count, *(tuple(values) for values in lists))
    return result


def joined_moments(parts: list[Mapping[str, Moments]]) -> dict[str, Moments]:
    """Moments by name over all parts; a name counts the parts that have it."""
    result: dict[str, Moments] = {}
    for part in parts:
        for name, moments in part.items():
            result[name] = result[name].joined(moments) if name in result else moments
    return result
