"""The rows of a manifest that a run uses: those that meet conditions, up to a limit."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from manifests.expressions import NamedColumns, parse_condition


class RowFilter:
    """Select rows by conditions on their columns, up to a limit.

    Args:
        conditions: conditions that all rows must meet, see `expressions`.
        limit: maximum number of rows; None for all.
        columns: columns that conditions can name.

    Attributes:
        left_out: number of rows before the limit that do not meet the conditions.

    Raises:
        InputError: `condition_invalid` or `column_unknown`.
    """

    def __init__(self, conditions: Sequence[str], limit: int | None, columns: NamedColumns) -> None:
        self._conditions = [parse_condition(text, columns) for text in conditions]
        self._remaining = limit
        self.left_out = 0

    @property
    def is_full(self) -> bool:
        """Whether the limit is reached, so that further rows need not be read."""
        return self._remaining == 0

    def select(self, table: pa.Table) -> tuple[pa.Table, int]:
        """Select rows of a table.

        Returns:
            The selected rows, and the number of rows up to the last selected one if the limit is reached, else of all.
        """
        indices = pa.array(range(table.num_rows), pa.int64())
        selected = table
        for condition in self._conditions:
            mask = condition.evaluate(selected)
            selected, indices = selected.filter(mask), indices.filter(mask.combine_chunks())

        n_read = table.num_rows
        if self._remaining is not None:
            if len(indices) >= self._remaining:
                selected, indices = selected.slice(0, self._remaining), indices.slice(0, self._remaining)
                n_read = indices[-1].as_py() + 1 if len(indices) else 0
            self._remaining -= len(indices)
        self.left_out += n_read - len(indices)
        return selected, n_read
