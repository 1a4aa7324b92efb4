"""Columns with few values, by which the numbers of a run are broken down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from manifests.run.outcome_table import INPUT, METRIC, SECONDS, TAKEN

pc: Any = pyarrow.compute  # makes its functions when it is imported, which type checkers do not see
MAX_GROUPS = 10  # values of a column
MAX_GROUP_CHARACTERS = 100  # longer texts are no categories
ALWAYS_GROUPED = ("mode", "cfg_scale")  # columns of the manifest with a meaning of their own
NO_VALUE = "(none)"
GROUPED_TYPES = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
)


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


def group_columns(schema: pa.Schema) -> list[str]:
    """Return the columns whose type and meaning allow groups.

    Args:
        schema: schema of outcome tables.
    """
    other = (TAKEN | {INPUT + "video"}) - set(ALWAYS_GROUPED)
    names = [name for name in schema.names if name not in other and not name.startswith((SECONDS, METRIC))]
    return [name for name in names if any(test(schema.field(name).type) for test in GROUPED_TYPES)]


def find_grouping(name: str, column: pa.ChunkedArray) -> Grouping | None:
    """Group rows by the values of a column; None where it has too many of them, or too long ones."""
    texts = pc.fill_null(column.cast(pa.string()), NO_VALUE)
    values = pc.unique(texts)
    if len(values) > MAX_GROUPS or any(len(text) > MAX_GROUP_CHARACTERS for text in values.to_pylist()):
        return None
    return Grouping(name, tuple(values.to_pylist()), pc.index_in(texts, value_set=values).to_numpy().astype(np.int8))
