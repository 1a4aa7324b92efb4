"""An index that numbers millions of texts, with 16 bytes of memory per text."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np


class HashIndex:
    """Assigns numbers to distinct texts, in the order of their first occurrence, from 0.

    Texts are stored as 64-bit BLAKE2b hashes in sorted runs, which are merged when they reach the size of their
    neighbor. Memory is 16 bytes per text, and up to twice that while the largest runs are merged; a dictionary takes
    106 bytes per text. The probability that two of a million different texts get the same number is 3e-8.
    """

    def __init__(self) -> None:
        self._runs: list[tuple[np.ndarray, np.ndarray]] = []  # sorted hashes, their numbers
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, texts: Sequence[str]) -> np.ndarray:
        """Add texts and return their numbers.

        Returns:
            The number of each text, int64, shape (texts,). A text is new if its number is at least the `len` of the
            index before this call.
        """
        digests = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
        keys = np.frombuffer(digests, dtype=np.uint64)
        numbers = np.full(len(keys), -1, dtype=np.int64)
        for run, run_numbers in self._runs:
            indices = np.minimum(np.searchsorted(run, keys), len(run) - 1)
            hit = run[indices] == keys
            numbers[hit] = run_numbers[indices[hit]]

        new = np.flatnonzero(numbers < 0)
        if len(new):
            unique, first, inverse = np.unique(keys[new], return_index=True, return_inverse=True)
            order = np.empty(len(unique), dtype=np.int64)
            order[np.argsort(first)] = np.arange(self._count, self._count + len(unique))
            numbers[new] = order[inverse]
            self._insert(unique, order)
        return numbers

    def _insert(self, keys: np.ndarray, numbers: np.ndarray) -> None:
        self._count += len(keys)
        while self._runs and len(self._runs[-1][0]) <= 2 * len(keys):
            run, run_numbers = self._runs.pop()
            keys, numbers = np.concatenate([run, keys]), np.concatenate([run_numbers, numbers])
            order = np.argsort(keys)
            keys, numbers = keys[order], numbers[order]
        self._runs.append((keys, numbers))
