"""Rectangles of a map that need computation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

ALIGNMENT = 4  # boxes are multiples of it: few sizes, as oneDNN generates code for each


@dataclass(frozen=True)
class Box:
    """A rectangle of cells of a map."""

    left: int  # left border, cells
    top: int  # top border, cells
    right: int  # right border, cells, exclusive
    bottom: int  # bottom border, cells, exclusive

    @classmethod
    def around(cls, low: Sequence[float], high: Sequence[float], n: int) -> Box:
        """Return the aligned box, cut to n x n cells, that contains the points (x, y) from `low` to `high`."""
        left, top = (min(n, max(0, math.floor(value / ALIGNMENT) * ALIGNMENT)) for value in low)
        right, bottom = (min(n, max(0, math.ceil(value / ALIGNMENT) * ALIGNMENT)) for value in high)
        return cls(left, top, right, bottom)

    @property
    def empty(self) -> bool:
        """Whether the box contains no cell."""
        return self.left >= self.right or self.top >= self.bottom

    def grow(self, margin: int, n: int) -> Box:
        """Return the box with a margin on all sides, cut to n x n cells."""
        return Box(
            max(0, self.left - margin),
            max(0, self.top - margin),
            min(n, self.right + margin),
            min(n, self.bottom + margin),
        )

    def unite(self, other: Box) -> Box:
        """Return the smallest box that contains both; empty boxes count for nothing."""
        if self.empty or other.empty:
            return other if self.empty else self
        return Box(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )

    def within(self, outer: Box) -> Box:
        """Return the box relative to an outer one."""
        return Box(self.left - outer.left, self.top - outer.top, self.right - outer.left, self.bottom - outer.top)

    def cut(self, maps: Tensor, scale: int = 1) -> Tensor:
        """Return the part of maps, shape (..., H, W), that have `scale` x `scale` pixels per cell."""
        return maps[..., scale * self.top : scale * self.bottom, scale * self.left : scale * self.right]
