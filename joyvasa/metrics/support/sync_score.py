"""Sync-C and Sync-D: distances between lip and sound embeddings at different shifts.

The protocol is that of syncnet_python and of Wav2Lip's `scores_LSE` (there LSE-C and LSE-D).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor

MAX_SHIFT = 15  # frames of 40 ms in either direction


@dataclass(frozen=True)
class SyncScore:
    """Agreement of lips and sound of one face."""

    confidence: float  # Sync-C, median minus minimum of the distances over all shifts; higher is better
    distance: float  # Sync-D, minimum of the distances; lower is better
    mean_distance: float  # mean of the distances
    offset: int  # frames by which the sound is early at the minimum; -5 if the sound is 5 frames late


class ShiftDistances:
    """Running mean of the distance between lips and sound for each shift of up to `max_shift` frames either way.

    The protocol pads the sound with zeros, which makes scores of short clips less reliable.
    """

    def __init__(self, max_shift: int = MAX_SHIFT) -> None:
        self._max_shift = max_shift
        self._totals = torch.zeros(2 * max_shift + 1, dtype=torch.float64)
        self._count = 0
        # Lip embeddings that wait for later sound, and sound embeddings from `max_shift` rows before the first of them.
        self._waiting: tuple[Tensor, Tensor] | None = None

    def add(self, lips: Tensor, sound: Tensor) -> None:
        """Add the next embeddings of lips and sound, shape (n, embedding), on one device."""
        if self._waiting is None:
            self._waiting = lips, F.pad(sound, (0, 0, self._max_shift, 0))
        else:
            self._waiting = torch.cat([self._waiting[0], lips]), torch.cat([self._waiting[1], sound])
        self._waiting = self._compare(*self._waiting)

    def score(self) -> SyncScore | None:
        """Return the score, or None if nothing was added. Called once, at the end of the sound."""
        if self._waiting is None:
            return None
        lips, sound = self._waiting
        self._compare(lips, F.pad(sound, (0, 0, 0, self._max_shift)))
        means = self._totals / self._count
        smallest, index = means.min(dim=0)
        return SyncScore(
            confidence=float(means.median() - smallest),
            distance=float(smallest),
            mean_distance=float(means.mean()),
            offset=self._max_shift - int(index),
        )

    def _compare(self, lips: Tensor, sound: Tensor) -> tuple[Tensor, Tensor]:
        """Add the distances of all lips whose sound is complete; return the rest."""
        ready = max(0, len(sound) - 2 * self._max_shift)
        if ready:
            rows = shift_distances(lips[:ready], sound, self._max_shift)
            self._totals += rows.sum(dim=0, dtype=torch.float64).cpu()
            self._count += ready
        return lips[ready:], sound[ready:]


def shift_distances(lips: Tensor, sound: Tensor, max_shift: int = MAX_SHIFT) -> Tensor:
    """Compute the Euclidean distance of lip embeddings to the sound at every shift.

    Args:
        lips: lip embeddings, shape (n, embedding).
        sound: sound embeddings, shape (n + 2 max_shift, embedding); row i + max_shift belongs to row i of `lips`.
        max_shift: maximum shift in either direction, frames.

    Returns:
        Distances, shape (n, 2 max_shift + 1), from the earliest sound to the latest.
    """
    shifts = range(2 * max_shift + 1)
    return torch.stack([F.pairwise_distance(lips, sound[shift : shift + len(lips)]) for shift in shifts], dim=1)
