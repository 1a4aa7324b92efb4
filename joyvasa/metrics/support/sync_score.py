"""Sync-C and Sync-D: how well the vectors of mouths and of sound fit each other at different shifts.

The protocol of syncnet_python and Wav2Lip's `scores_LSE` (there LSE-C and LSE-D).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 (its usual name)
from torch import Tensor

MAX_SHIFT = 15  # frames of 40 ms to either side


@dataclass(frozen=True)
class SyncScore:
    """How a face fits its sound.

    Args:
        confidence: Sync-C, the median of the distances over all shifts minus the smallest; higher is better.
        distance: Sync-D, the smallest of the distances; lower is better.
        mean_distance: mean over all shifts.
        offset: frames by which the sound is early at the smallest distance; sound that comes 5 frames late has -5.
    """

    confidence: float
    distance: float
    mean_distance: float
    offset: int


class ShiftDistances:
    """Mean distance of mouths and sound for each shift, gathered piece by piece.

    Beyond the ends of the sound the protocol compares with zeros, which makes short clips less certain.

    Args:
        max_shift: to either side, frames.
    """

    def __init__(self, max_shift: int = MAX_SHIFT) -> None:
        self._max_shift = max_shift
        self._totals = torch.zeros(2 * max_shift + 1, dtype=torch.float64)
        self._count = 0
        # Mouths that wait for later sound, and the sound from `max_shift` rows before the first of them.
        self._waiting: tuple[Tensor, Tensor] | None = None

    def add(self, lips: Tensor, sound: Tensor) -> None:
        """Takes the next vectors of both.

        Args:
            lips: shape (n, embedding).
            sound: likewise, on the same device.
        """
        if self._waiting is None:
            self._waiting = lips, F.pad(sound, (0, 0, self._max_shift, 0))
        else:
            self._waiting = torch.cat([self._waiting[0], lips]), torch.cat([self._waiting[1], sound])
        self._waiting = self._compare(*self._waiting)

    def score(self) -> SyncScore | None:
        """Ends the sound; None where nothing was added. Called once."""
        if self._waiting is None:
            return None
        lips, sound = self._waiting
        self._compare(lips, F.pad(sound, (0, 0, 0, self._max_shift)))
        means = self._totals / self._count
        smallest, place = means.min(dim=0)
        return SyncScore(
            confidence=float(means.median() - smallest),
            distance=float(smallest),
            mean_distance=float(means.mean()),
            offset=self._max_shift - int(place),
        )

    def _compare(self, lips: Tensor, sound: Tensor) -> tuple[Tensor, Tensor]:
        """Counts all mouths whose latest sound is there; gives what is left."""
        ready = max(0, len(sound) - 2 * self._max_shift)
        if ready:
            rows = shift_distances(lips[:ready], sound, self._max_shift)
            self._totals += rows.sum(dim=0, dtype=torch.float64).cpu()
            self._count += ready
        return lips[ready:], sound[ready:]


def shift_distances(lips: Tensor, sound: Tensor, max_shift: int = MAX_SHIFT) -> Tensor:
    """Euclidean distance of every mouth to the sound at every shift.

    Args:
        lips: shape (n, embedding).
        sound: shape (n + 2 max_shift, embedding); row i + max_shift belongs to mouth i.
        max_shift: to either side, frames.

    Returns:
        shape (n, 2 max_shift + 1), from the earliest sound to the latest.
    """
    shifts = range(2 * max_shift + 1)
    return torch.stack([F.pairwise_distance(lips, sound[shift : shift + len(lips)]) for shift in shifts], dim=1)
