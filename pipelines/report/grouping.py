"""Groups of rows by columns with few values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from joyvasa.runtime.arrow_text import decode_text
from manifests.run.outcome_table import INPUT_PREFIX, METRIC_COLUMN_PREFIX, RESERVED_NAMES, SECONDS_PREFIX

pc: Any = pyarrow.compute  # defines its functions dynamically, which type checkers do not see
MAX_GROUPS = 10  # maximum number of values of a column
MAX_GROUP_CHARACTERS = 100  # maximum length of a value; longer texts are not categories
ALWAYS_GROUPED = ("mode", "cfg_scale")  # standard columns by which rows are grouped, too
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
    """A column with few values."""

    column: str  # name of the column
    values: tuple[str, ...]  # values as text, in order of appearance
    codes: np.ndarray  # index into `values` for each row, shape (rows,)


def find_group_columns(schema: pa.Schema) -> list[str]:
    """Return the columns whose type and meaning allow groups.

    Args:
        schema: schema of outcome tables.
    """
    excluded = (RESERVED_NAMES | {INPUT_PREFIX + "video"}) - set(ALWAYS_GROUPED)
    names = [
        name
        for name in schema.names
        if name not in excluded and not name.startswith((SECONDS_PREFIX, METRIC_COLUMN_PREFIX))
    ]
    return [name for name in names if any(test(schema.field(name).type) for test in GROUPED_TYPES)]


def find_grouping(name: str, column: pa.ChunkedArray) -> Grouping | None:
    """Group rows by the values of a column; return None if it has too many values, or too long ones."""
    texts = pc.fill_null(column.cast(pa.string()), NO_VALUE)
    values = pc.unique(texts)
    if len(values) > MAX_GROUPS:
        return None
    labels = tuple(label or "" for label in decode_text(values))
    if any(len(label) > MAX_GROUP_CHARACTERS for label in labels):
        return None
    return Grouping(name, labels, pc.index_in(texts, value_set=values).to_numpy().astype(np.int8))
