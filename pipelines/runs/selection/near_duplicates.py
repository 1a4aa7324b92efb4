"""Pictures that are copies of one another after scaling or compression, found by their perceptual hashes."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa

from joyvasa.runtime.arrow_text import format_values
from pipelines.runs.selection.splits import find_components

MAX_BITS = 3  # largest number of bits in which the hashes of copies differ; 95 other portraits in 10 or more
N_BANDS = 4  # parts of a hash; of two hashes that differ in at most 3 bits, one of 4 parts is equal
NEIGHBORS = 32  # hashes with an equal part are compared with as many of their neighbors in the order of all bits
_HASH = re.compile("[0-9a-f]{16}")


def read_perceptual_hashes(column: pa.ChunkedArray) -> np.ndarray:
    """Return the hashes of `joyvasa.media.image.perceptual_hash` as numbers: uint64, shape (rows,); 0 for none."""
    texts = format_values(column.combine_chunks())
    return np.array([int(text, 16) if text and _HASH.fullmatch(text) else 0 for text in texts], np.uint64)


def merge_near_duplicates(keys: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Give near duplicates of a picture one key, that of the first one, which later rows cannot change.

    Copies of copies count.

    Args:
        keys: key of the content of the picture of each row, 0 for none; uint64.
        hashes: perceptual hash of the picture of each row, 0 for none; uint64. One row of a picture may have it alone.

    Returns:
        Keys, uint64, shape (rows,).
    """
    known = (keys != 0) & (hashes != 0)
    pictures, first = np.unique(keys[known], return_index=True)
    if not len(pictures):
        return keys
    order = np.argsort(first)
    earliest = find_components(len(pictures), *_find_pairs(hashes[known][first[order]]))
    merged = np.empty_like(pictures)
    merged[order] = pictures[order][earliest]
    at = np.minimum(np.searchsorted(pictures, keys), len(pictures) - 1)
    return np.where(pictures[at] == keys, merged[at], keys)


def _find_pairs(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of pairs of hashes, (n,), that differ in at most `MAX_BITS` bits."""
    pairs = []
    for band in range(N_BANDS):
        bits = 64 // N_BANDS
        turned = hashes << np.uint64(band * bits) | hashes >> np.uint64(64 - band * bits) if band else hashes
        order = np.argsort(turned, kind="stable")
        part = turned[order] >> np.uint64(64 - bits)
        for step in range(1, NEIGHBORS + 1):
            same = np.flatnonzero(part[step:] == part[:-step])
            if not len(same):
                break
            left, right = order[same], order[same + step]
            different = np.unpackbits((hashes[left] ^ hashes[right]).view(np.uint8).reshape(-1, 8), axis=1).sum(axis=1)
            near = different <= MAX_BITS
            pairs.append(np.stack([left[near], right[near]]))
    left, right = np.concatenate([np.empty((2, 0), np.intp), *pairs], axis=1)
    return left, right
