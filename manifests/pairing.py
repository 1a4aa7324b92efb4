"""Pair portraits with recordings: all combinations, or a balanced sample."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from joyvasa.errors import suggest_name
from manifests.media_lists import MediaList
from manifests.problems import ManifestError, safe_text


@dataclass(frozen=True)
class PairPlan:
    """The pairs of two lists, computed in blocks when they are needed; the memory grows with the lists only.

    Entries form groups by the values of matched columns; without matched columns there is one group. A sample walks
    along the diagonals of the table of a group's combinations: pair k has portrait k mod P and recording k mod A, in
    random order. After lcm(P, A) pairs the walk continues on another diagonal. So every pair occurs once, and after any
    number of pairs every portrait, and every recording, was used equally often, give or take one.
    """

    # images, audio: indices of portraits and of recordings, sorted by group
    images: np.ndarray
    audio: np.ndarray
    # image_starts, audio_starts: position of the first entry of each group, shape (groups + 1,)
    image_starts: np.ndarray
    audio_starts: np.ndarray
    sizes: np.ndarray  # number of pairs per group, shape (groups,)
    # offset of the recording on each diagonal; those of a group start at its `shift_starts`. None for all combinations
    shifts: np.ndarray | None
    shift_starts: np.ndarray  # position of the first shift of each group, shape (groups + 1,)

    def __len__(self) -> int:
        return int(self.sizes.sum())

    def compute_pairs(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices of portraits and of recordings of consecutive pairs."""
        ends = self.sizes.cumsum()
        numbers = np.arange(start, min(stop, len(self)))
        group = np.searchsorted(ends, numbers, side="right")
        k = numbers - (ends - self.sizes)[group]

        n_images, n_audio = (np.diff(starts)[group] for starts in (self.image_starts, self.audio_starts))
        if self.shifts is None:
            image, audio = k // n_audio, k % n_audio
        else:
            diagonal = k // np.lcm(n_images, n_audio)
            image = k % n_images
            audio = (k + self.shifts[self.shift_starts[group] + diagonal]) % n_audio
        return self.images[self.image_starts[group] + image], self.audio[self.audio_starts[group] + audio]


def plan_pairs(
    images: MediaList,
    audio: MediaList,
    *,
    sample: int | None = None,
    seed: int = 0,
    match: Sequence[tuple[str, str]] = (),
) -> PairPlan:
    """Plan the pairs of two lists.

    Args:
        images: portraits.
        audio: recordings.
        sample: number of pairs; None for all combinations.
        seed: seed of the sample.
        match: columns of portraits and of recordings whose values must be equal; empty values match nothing. With
            several values, a sample has equally many pairs of each value, or all that the value allows.

    Raises:
        ManifestError: `match_column_unknown`, `pairs_none`, or `sample_too_large` if there are fewer combinations.
    """
    image_groups, audio_groups = _find_groups(images, audio, match)
    n_groups = int(max(image_groups.max(initial=-1), audio_groups.max(initial=-1))) + 1
    image_counts, audio_counts = (
        np.bincount(groups[groups >= 0], minlength=n_groups) for groups in (image_groups, audio_groups)
    )
    capacities = image_counts * audio_counts
    capacity = int(capacities.sum())
    if not capacity:
        columns = ", ".join(f"{left}={right}" for left, right in match)
        sentence = f"--match-column {safe_text(columns, 200)}: no portrait and recording with equal values"
        raise ManifestError("pairs_none", f"{sentence}; expected some: check both columns")
    if sample is not None and sample > capacity:
        exist = f"{capacity:,} pairs of {len(images):,} portraits and {len(audio):,} recordings exist"
        raise ManifestError("sample_too_large", f"--sample {sample}: {exist}; expected at most that: use --all")

    generator = None if sample is None else np.random.Generator(np.random.PCG64(seed))
    diagonals = np.gcd(image_counts, audio_counts) * (capacities > 0) if generator else np.zeros_like(capacities)
    shift_groups = np.repeat(np.arange(n_groups), diagonals)
    shifts, shift_starts = _sort_by_group(shift_groups, n_groups, generator)
    image_order, image_starts = _sort_by_group(image_groups, n_groups, generator)
    audio_order, audio_starts = _sort_by_group(audio_groups, n_groups, generator)
    # Drawn last, so that a larger sample has the pairs of a smaller one if there is one group.
    sizes = _share_equally(capacities, sample, generator) if sample is not None and generator else capacities
    return PairPlan(
        images=image_order,
        audio=audio_order,
        image_starts=image_starts,
        audio_starts=audio_starts,
        sizes=sizes,
        shifts=shifts - shift_starts[shift_groups] if generator else None,
        shift_starts=shift_starts,
    )


def _find_groups(
    images: MediaList, audio: MediaList, match: Sequence[tuple[str, str]]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of the group of each portrait and of each recording, -1 for empty values."""
    groups = np.zeros(len(images) + len(audio), np.int64)
    for left, right in match:
        keys = pa.concat_arrays([_get_keys(images, left), _get_keys(audio, right)])
        encoded = keys.dictionary_encode()
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        combined = groups * len(encoded.dictionary) + codes
        combined[(groups < 0) | (codes < 0)] = -1
        values, numbers = np.unique(combined, return_inverse=True)
        groups = numbers - (1 if values[0] < 0 else 0)
    return groups[: len(images)], groups[len(images) :]


def _get_keys(media: MediaList, column: str) -> pa.Array:
    keys = media.get_keys(column)
    if keys is not None:
        return keys
    columns = [*media.columns.column_names, "folder", "stem"]
    sentence = f"{safe_text(media.source, 200)} has no column {safe_text(column)}: {suggest_name(column, columns)}"
    raise ManifestError("match_column_unknown", f"--match-column: {sentence}")


def _share_equally(capacities: np.ndarray, total: int, generator: np.random.Generator) -> np.ndarray:
    """Divide a total among groups as equally as their capacities allow."""
    levels = range(int(capacities.max()) + 1)
    level = bisect.bisect_right(levels, total, key=lambda level: int(np.minimum(capacities, level).sum())) - 1
    sizes = np.minimum(capacities, level)
    larger = generator.permutation(np.flatnonzero(capacities > level))
    sizes[larger[: total - int(sizes.sum())]] += 1
    return sizes


def _sort_by_group(
    groups: np.ndarray, n_groups: int, generator: np.random.Generator | None
) -> tuple[np.ndarray, np.ndarray]:
    """Sort indices by group, within a group in random order if there is a generator.

    Returns:
        Indices without those of group -1, and the position of the first index of each group, shape (groups + 1,).
    """
    ranks = np.arange(len(groups)) if generator is None else generator.random(len(groups))
    order = np.lexsort((ranks, groups))
    order = order[np.count_nonzero(groups < 0) :]
    return order, np.searchsorted(groups[order], np.arange(n_groups + 1))
