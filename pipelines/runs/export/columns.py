"""Columns of an exported data set: those of the rows, without paths of this machine."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.types as is_type

from joyvasa.runtime.arrow_text import decode_text, escape_text
from joyvasa.runtime.locations import is_remote
from joyvasa.runtime.parsing import parse_json
from manifests.run.manifest_file import INPUT_PREFIX
from manifests.run.outcome_table import METRIC_REASONS

RUN = "run"
SCORED_VIDEO = f"{INPUT_PREFIX}video"  # keeps its name, because `source_video` is a group of options
SOURCES = {name: f"source_{name}" for name in ("image", "audio", "motion")} | {SCORED_VIDEO: SCORED_VIDEO}
DROPPED = frozenset({"video", "motion_file", "error", "error_code"})  # replaced, not exported, or null in ok rows

# Columns that an export adds; a column of the rows with such a name gets the prefix `input_`.
RESERVED_COLUMNS = frozenset(
    {"video", "audio", "portrait", "file_name", "audio_file", "portrait_file", "null_columns", "run"}
)
_FILE_NAME = re.compile(r"file_name(s?)$")  # a column whose name ends so is a video for `videofolder`


@dataclass(frozen=True)
class PublishedColumn:
    """A column of the data set."""

    source: str  # name in the rows
    name: str  # name in the data set
    type: pa.DataType  # type in the data set


class PublishedColumns:
    """The columns of a data set and the conversion of rows to them.

    Locations of portraits, recordings and motions are named `source_<column>`; of absolute ones, and of those of scored
    videos, only the file name is published. `run` becomes the short name of the run, `metric_reasons` lists codes only,
    because its sentences contain paths. Columns that hold nothing but null are text.

    Args:
        schema: columns of the rows.
        has_runs: whether the column `run` holds locations of runs; otherwise it is one of the manifest.
    """

    def __init__(self, schema: pa.Schema, *, has_runs: bool) -> None:
        self.columns = [PublishedColumn(RUN, RUN, pa.string())]
        used = {RUN, *SOURCES.values()}
        for entry in schema:
            if entry.name in DROPPED or (entry.name == RUN and has_runs):
                continue
            if entry.name in SOURCES:
                column = PublishedColumn(entry.name, SOURCES[entry.name], pa.string())
            else:
                kind = pa.string() if is_type.is_null(entry.type) else entry.type
                column = PublishedColumn(entry.name, name_column(entry.name, used), kind)
            self.columns.append(column)
            used.add(column.name)

    @property
    def schema(self) -> pa.Schema:
        """Columns of the data set, without media."""
        return pa.schema([(column.name, column.type) for column in self.columns])

    def convert(self, table: pa.Table, runs: list[str]) -> pa.Table:
        """Convert rows; `runs` are the names of their runs."""
        arrays = [pa.array(runs, pa.string()), *(self._convert(table, column) for column in self.columns[1:])]
        return pa.table(arrays, schema=self.schema)

    def _convert(self, table: pa.Table, column: PublishedColumn) -> Any:
        values = table.column(column.source)
        if column.source in SOURCES:
            return pa.array([_shorten(value) for value in decode_text(values)], pa.string())
        if column.source == METRIC_REASONS and is_type.is_string(column.type):
            return pa.array([_keep_codes(value) for value in decode_text(values)], pa.string())
        if is_type.is_string(values.type):
            values = escape_text(values)
        return values if values.type == column.type else values.cast(column.type)


def _shorten(location: str | None) -> str | None:
    if not location or not (location.startswith("/") or is_remote(location) or ":" in location[:9]):
        return location
    return posixpath.basename(location.partition("?")[0].replace("\\", "/").rstrip("/"))


def _keep_codes(reasons: str | None) -> str | None:
    try:
        values = parse_json(reasons or "null")
    except ValueError:
        return None
    if not isinstance(values, dict):
        return None
    return json.dumps({name: str(text).partition(":")[0] for name, text in values.items()}, ensure_ascii=False)


def name_column(name: str, used: Iterable[str]) -> str:
    """Return the name of a passed-through column in the data set."""
    name = _FILE_NAME.sub(r"filename\1", name)
    while name in RESERVED_COLUMNS or name in used:
        name = f"input_{name}"
    return name
