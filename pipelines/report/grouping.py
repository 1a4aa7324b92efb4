"""Columns with few values, by which the numbers of a run are broken down."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from manifests.run.outcome_table import METRIC, SECONDS, TAKEN

MAX_GROUPS = 10  # values of a column
MAX_GROUP_COLUMNS = 12
MAX_GROUP_CHARACTERS = 100  # longer texts are no categories
ALWAYS_GROUPED = ("mode", "cfg_scale")  # columns of the manifest with a meaning of their own
NO_VALUE = "(none)"


@dataclass(frozen=True)
class Grouping:
    """A column with few values.

    Args:
        column: its name.
        values: as text, in order of appearance.
        codes: place in `values` for each row, shape (rows,).
    """

    column: str
    values: tuple[str, ...]
    codes: np.ndarray


class Groups:
    """Finds such columns while rows come; keeps a byte a row and column, and nothing of columns with many values."""

    def __init__(self) -> None:
        self._n_rows = 0
        self._columns: dict[str, tuple[dict[str, int], list[np.ndarray]] | None] = {}

    def take(self, table: pa.Table) -> None:
        """Takes the rows of the next shard."""
        taken = TAKEN - set(ALWAYS_GROUPED)
        present = [name for name in table.column_names if name not in taken and not name.startswith((SECONDS, METRIC))]
        for name in dict.fromkeys([*present, *self._columns]):
            if name == "input_video" or (name in self._columns and self._columns[name] is None):
                continue
            texts = _texts(table, name)
            kept = self._columns.get(name) or ({}, [])
            if name not in self._columns and self._n_rows:  # the shards before lack the column
                kept[0][NO_VALUE] = 0
                kept[1].append(np.zeros(self._n_rows, np.int8))
            numbers = kept[0]
            fresh = dict.fromkeys(texts or ())
            for text in fresh:
                numbers.setdefault(text, len(numbers))
            too_long = any(len(text) > MAX_GROUP_CHARACTERS for text in fresh)
            if texts is None or len(numbers) > MAX_GROUPS or too_long:
                self._columns[name] = None  # from now on it is left alone
                continue
            kept[1].append(np.fromiter((numbers[text] for text in texts), np.int8, len(texts)))
            self._columns[name] = kept
        self._n_rows += table.num_rows

    def found(self) -> list[Grouping]:
        """Those with more than one value."""
        found = []
        for column, kept in self._columns.items():
            if kept and len(kept[0]) > 1 and len(found) < MAX_GROUP_COLUMNS:
                found.append(Grouping(column, tuple(kept[0]), np.concatenate(kept[1])))
        return found


def _texts(table: pa.Table, name: str) -> list[str] | None:
    """A column as texts; None where its type is none that sorts records into groups."""
    if name not in table.column_names:
        return [NO_VALUE] * table.num_rows
    column = table.column(name)
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    plain = (pa.types.is_string, pa.types.is_large_string, pa.types.is_boolean, pa.types.is_integer)
    if not any(test(kind) for test in (*plain, pa.types.is_floating, pa.types.is_null)):
        return None
    texts = column.cast(pa.string()).to_pylist()
    return [NO_VALUE if text is None else text for text in texts]
