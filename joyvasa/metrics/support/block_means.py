"""Running means over a whole clip and over its seconds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class BlockMeans:
    """Running means of vectors over all frames and over blocks of frames.

    A partial last block of less than half the length is dropped, unless it is the only one.

    Args:
        size: size of the vectors.
        block_frames: number of frames per block, usually one second.

    Attributes:
        n_blocks: number of complete blocks.
        first: mean of the first block.
        lowest: elementwise minimum of the block means.
    """

    def __init__(self, size: int, block_frames: int) -> None:
        self._block_frames = max(1, block_frames)
        self._total, self._n = np.zeros(size), 0
        self._block, self._n_block = np.zeros(size), 0
        self.lowest = np.full(size, np.inf)
        self.n_blocks = 0
        self.first = np.zeros(size)

    def add(self, values: FloatArray) -> FloatArray | None:
        """Add the vector of a frame; return the mean of the block that it completes, if any."""
        self._total += values
        self._block += values
        self._n += 1
        self._n_block += 1
        return self._close() if self._n_block == self._block_frames else None

    def flush(self) -> FloatArray | None:
        """Close the last block; return its mean if it is at least half full or the only one."""
        if not self._n_block or (self.n_blocks and 2 * self._n_block < self._block_frames):
            return None
        return self._close()

    @property
    def mean(self) -> FloatArray:
        """Mean over all frames; NaN if there are none."""
        return self._total / self._n if self._n else np.full_like(self._total, np.nan)

    def _close(self) -> FloatArray:
        mean = self._block / self._n_block
        self.first = self.first if self.n_blocks else mean
        self.lowest = np.minimum(self.lowest, mean)
        self.n_blocks += 1
        self._block, self._n_block = np.zeros_like(self._block), 0
        return mean
