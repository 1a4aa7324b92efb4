"""Means over a whole clip and over its seconds, while it streams by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class BlockMeans:
    """Means of vectors over all frames, and over blocks of them; holds no frame's numbers.

    A rest of less than half a block belongs to no block, unless there is no other.

    Args:
        size: of the vectors.
        block_frames: frames of a block, usually one second.

    Attributes:
        n_blocks: whole blocks so far.
        first: mean of the first block.
        lowest: of the block means, for each number.
    """

    def __init__(self, size: int, block_frames: int) -> None:
        self._block_frames = max(1, block_frames)
        self._total, self._n = np.zeros(size), 0
        self._block, self._n_block = np.zeros(size), 0
        self.lowest = np.full(size, np.inf)
        self.n_blocks = 0
        self.first = np.zeros(size)

    def add(self, values: FloatArray) -> FloatArray | None:
        """Takes the numbers of a frame; gives the mean of the block that it completes."""
        self._total += values
        self._block += values
        self._n += 1
        self._n_block += 1
        return self._close() if self._n_block == self._block_frames else None

    def flush(self) -> FloatArray | None:
        """Ends the last block; gives its mean where it has at least half the frames of one, or is the only one."""
        if not self._n_block or (self.n_blocks and 2 * self._n_block < self._block_frames):
            return None
        return self._close()

    @property
    def mean(self) -> FloatArray:
        """Of all frames; not a number where there was none."""
        return self._total / self._n if self._n else np.full_like(self._total, np.nan)

    def _close(self) -> FloatArray:
        mean = self._block / self._n_block
        self.first = self.first if self.n_blocks else mean
        self.lowest = np.minimum(self.lowest, mean)
        self.n_blocks += 1
        self._block, self._n_block = np.zeros_like(self._block), 0
        return mean
