"""Columns on a scratch disk, so that one at a time is in memory."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np


class ColumnFiles:
    """One file a column, written as rows come."""

    def __init__(self, folder: Path, files: ExitStack) -> None:
        self._folder, self._files = folder, files
        self._open: dict[str, tuple[Any, int, np.dtype]] = {}  # file, rows written

    @property
    def names(self) -> list[str]:
        """Columns in order of appearance."""
        return [*self._open]

    def add(self, name: str, values: np.ndarray, before: int) -> None:
        """Appends the values of a shard, `before` rows of other shards having come before it."""
        if name not in self._open:
            file = self._files.enter_context((self._folder / file_name(name)).open("wb"))
            self._open[name] = (file, 0, values.dtype)
        self._fill(name, before)
        file, count, kind = self._open[name]
        values.tofile(file)
        self._open[name] = (file, count + len(values), kind)

    def pad(self, rows: int) -> None:
        """Fills columns that the last shards lack."""
        for name in self._open:
            self._fill(name, rows)

    def _fill(self, name: str, rows: int) -> None:
        file, count, kind = self._open[name]
        if count < rows:
            np.full(rows - count, np.nan, kind).tofile(file)
            self._open[name] = (file, rows, kind)


def file_name(column: str) -> str:
    """Names of columns come from files; those of our files do not."""
    return hashlib.blake2b(column.encode(), digest_size=16).hexdigest()


def read_column(folder: Path, name: str, kind: np.dtype) -> np.ndarray:
    """A column that was written, shape (rows,); empty if there is none."""
    path = folder / file_name(name)
    return np.fromfile(path, kind) if path.exists() else np.zeros(0, kind)
