"""The outcome rows of a run, read once: counts in memory, columns on a scratch disk and read back one at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.dataset as ds

from joyvasa.runtime.arrow_text import decode_text
from joyvasa.runtime.parsing import parse_json
from joyvasa.runtime.result_tables import MAX_AMOUNT, iterate_tables, read_schema, read_table
from manifests.formats.plain_types import plain_schema
from manifests.run.folder import RunFolder
from manifests.run.outcome_table import (
    INPUT_FIELDS,
    INPUT_PREFIX,
    METRIC_COLUMN_PREFIX,
    METRIC_REASONS,
    RESERVED_NAMES,
    RESULT_FIELDS,
    SECONDS_PREFIX,
)
from pipelines.report.failures import MAX_CODES, OTHER, FailureGroup, group_failures

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


def _find_group_columns(schema: pa.Schema) -> list[str]:
    """Return the columns whose type and meaning allow groups."""
    excluded = (RESERVED_NAMES | {INPUT_PREFIX + "video"}) - set(ALWAYS_GROUPED)
    prefixes = (SECONDS_PREFIX, METRIC_COLUMN_PREFIX)
    fields = [entry for entry in schema if entry.name not in excluded and not entry.name.startswith(prefixes)]
    return [entry.name for entry in fields if any(test(entry.type) for test in GROUPED_TYPES)]


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


pc: Any = pyarrow.compute  # defines its functions dynamically, which type checkers do not see
MAX_GROUP_COLUMNS = 12
NOT_FINITE = f"not_finite: the number is infinite, NaN or beyond {MAX_AMOUNT:.0e}"
KNOWN = pa.schema(  # columns that a run has even if no table contains them
    [
        *RESULT_FIELDS,
        *INPUT_FIELDS,
        (INPUT_PREFIX + "video", pa.string()),
        ("shard", pa.int32()),
        (METRIC_REASONS, pa.string()),
    ]
)
COUNTED = ("frames", "duration_s", "attempts", "licenses", "bundle", METRIC_REASONS)
COPIED = ("record_id", "row", "shard", "status", "stage", "error_code", "error", "warning_codes", "warnings")
COPIED += ("video", "input_video", "duration_s")
ROW_INDEX = "row_index"  # column of the copy: index of a row in the run, from 0

ProgressCallback = Callable[[str, int, int], None]
"""Callback for progress: name of the step, number of finished items, total number of items."""


def ignore_progress(step: str, done: int, total: int) -> None:
    """Do nothing."""


class OutcomeRows:
    """The outcome rows of all finished shards, read once.

    Args:
        folder: run folder.
        scratch: empty local folder for the columns; the caller removes it.

    Attributes:
        n_rows: number of records in finished shards.
        statuses: number of records by status.
        seconds: sum of seconds by stage.
        frames, duration_s: sums over the videos.
        metrics: names of the metrics in the order of the tables.
        reasons: reasons for missing numbers: by metric and code, the number of videos and one sentence.
        licenses, bundles: number of videos by license and by bundle.
    """

    def __init__(self, folder: RunFolder, scratch: Path) -> None:
        self._folder, self._scratch = folder, scratch
        self.n_rows = 0
        self.statuses: Counter[str] = Counter()
        self.seconds: dict[str, float] = {}
        self.frames, self.duration_s = 0, 0.0
        self.retried = 0
        self.metrics: list[str] = []
        self.reasons: dict[str, dict[str, tuple[int, str]]] = {}
        self.licenses: Counter[str] = Counter()
        self.bundles: Counter[str] = Counter()
        self._group_columns: list[str] = []

    def read(self, on_progress: ProgressCallback = ignore_progress) -> None:
        """Read all rows; call this method once, before the others.

        Raises:
            InputError: `records_unreadable`.
            OSError: the scratch disk is full.
        """
        marks = self._folder.read_done_markers()
        total = sum(mark.records for mark in marks.values())
        files = [self._folder.storage.location(self._folder.records_path(shard)) for shard in sorted(marks)]
        schema = plain_schema(pa.unify_schemas([read_schema(files), KNOWN], promote_options="permissive"))
        self._schema = schema
        self.metrics = [
            name.removeprefix(METRIC_COLUMN_PREFIX)
            for name in schema.names
            if name.startswith(METRIC_COLUMN_PREFIX) and name != METRIC_REASONS
        ]
        self.seconds = {
            name.removeprefix(SECONDS_PREFIX): 0.0 for name in schema.names if name.startswith(SECONDS_PREFIX)
        }

        # Texts that differ from row to row, such as transcripts, are not copied; the first shard reveals them.
        sample = read_table(files[:1], schema, _find_group_columns(schema))
        names = [name for name in sample.column_names if name != ROW_INDEX]
        self._group_columns = [name for name in names if find_grouping(name, sample.column(name))]
        copied = [*dict.fromkeys([*COPIED, *self._group_columns])]
        numbers = [
            *(METRIC_COLUMN_PREFIX + name for name in self.metrics),
            *(SECONDS_PREFIX + name for name in self.seconds),
        ]

        with ExitStack() as stack:
            metric_files = {
                name: stack.enter_context(self._metric_file(name).open("wb", buffering=0)) for name in self.metrics
            }
            copy_schema = pa.schema([*(schema.field(name) for name in copied), (ROW_INDEX, pa.int64())])
            writer = stack.enter_context(pa.ipc.new_file(str(self._scratch / "rows.arrow"), copy_schema))
            for table in iterate_tables(files, schema, [*dict.fromkeys([*copied, *COUNTED, *numbers])]):
                row_indices = np.arange(self.n_rows, self.n_rows + table.num_rows)
                writer.write_table(table.select(copied).append_column(ROW_INDEX, [row_indices]).combine_chunks())
                self._count(table)
                for name, values in self._metric_values(table).items():
                    values.tofile(metric_files[name])
                self.n_rows += table.num_rows
                on_progress("rows", self.n_rows, total)
        self._copy = ds.dataset(self._scratch / "rows.arrow", format="ipc")

    def read_metric(self, name: str) -> np.ndarray:
        """Return the numbers of one metric, NaN for missing ones: float64, shape (rows,)."""
        return np.fromfile(self._metric_file(name)) if name in self.metrics else np.full(self.n_rows, np.nan)

    def read_record_ids(self) -> pa.ChunkedArray:
        """Return the ids of the records in the order of the manifest."""
        return self._column("record_id")

    def find_videos(self) -> np.ndarray:
        """Return whether each row has a video: bool, shape (rows,)."""
        return pc.equal(self._column("status"), "ok").to_numpy()

    def find_groupings(self) -> list[Grouping]:
        """Return the groupings of the rows by columns with few values, but more than one."""
        groupings = (find_grouping(name, self._column(name)) for name in self._group_columns)
        return [grouping for grouping in groupings if grouping and len(grouping.values) > 1][:MAX_GROUP_COLUMNS]

    def find_status_groupings(self) -> list[Grouping]:
        """Return the groupings of all rows by status and, unless there are too many, by code of the error."""
        groupings = (find_grouping(name, self._column(name)) for name in ("status", "error_code"))
        return [grouping for grouping in groupings if grouping]

    @property
    def types(self) -> dict[str, pa.DataType]:
        """Types of all columns by name."""
        return {entry.name: entry.type for entry in self._schema}

    def read_shards(self) -> np.ndarray:
        """Return the number of the shard of each row: int32, shape (rows,)."""
        return self._column("shard").to_numpy()

    def read_rows(self, row_indices: Iterable[int], columns: Sequence[str] = COPIED) -> list[dict[str, Any]]:
        """Return some rows.

        Args:
            row_indices: indices of the rows in the run, from 0.
            columns: columns to return, a subset of `COPIED`.
        """
        return self._copy.take(pa.array([*row_indices], pa.int64()), columns=[*columns]).to_pylist()

    def find_failures(self) -> list[FailureGroup]:
        """Group the records without a video by reason."""
        failed = self._copy.to_table([ROW_INDEX, "status", "stage", "error_code"], filter=ds.field("status") != "ok")
        return group_failures(failed.rename_columns([ROW_INDEX, "status", "stage", "code"]), "error", self.read_rows)

    def find_warnings(self) -> list[FailureGroup]:
        """Group the records with warnings by reason; a record may have several."""
        warned = self._copy.to_table([ROW_INDEX, "warning_codes"], filter=ds.field("warning_codes").is_valid())
        warned = warned.combine_chunks()
        codes = pc.split_pattern(warned.column("warning_codes"), ",")
        row_indices = warned.column(ROW_INDEX).take(pc.list_parent_indices(codes))
        codes = pc.list_flatten(codes)
        empty = pa.repeat("", len(codes))
        table = pa.table({ROW_INDEX: row_indices, "status": empty, "stage": empty, "code": codes})
        return group_failures(table, "warnings", self.read_rows)

    def _metric_file(self, name: str) -> Path:
        return self._scratch / f"metric-{self.metrics.index(name)}"

    def _column(self, name: str) -> pa.ChunkedArray:
        return self._copy.to_table([name]).column(0)

    def _count(self, table: pa.Table) -> None:
        self.statuses.update(dict(_value_counts(table.column("status"))))
        self.retried += int(np.sum(_floats(table, "attempts") > 1))
        for stage in self.seconds:
            self.seconds[stage] += float(np.nansum(_floats(table, SECONDS_PREFIX + stage)))
        for name, count in _value_counts(pc.list_flatten(table.column("licenses"))):
            _add(self.licenses, name, count)
        for name, count in _value_counts(table.column("bundle")):
            _add(self.bundles, name, count)

        videos = table.filter(pc.equal(table.column("status"), "ok"))
        self.frames += int(np.nansum(_floats(videos, "frames")))
        self.duration_s += float(np.nansum(_floats(videos, "duration_s")))
        for text, count in _value_counts(videos.column(METRIC_REASONS)):  # few distinct texts: most records share them
            try:
                reasons = parse_json(text)
            except ValueError:
                continue
            for metric, reason in reasons.items() if isinstance(reasons, dict) else ():
                self._count_reason(str(metric), str(reason), count)

    def _metric_values(self, table: pa.Table) -> dict[str, np.ndarray]:
        """Return the numbers of the videos in a table by metric; impossible ones are counted and become NaN."""
        no_video = pc.not_equal(table.column("status"), "ok").to_numpy()
        numbers = {}
        for name in self.metrics:
            values = numbers[name] = _floats(table, METRIC_COLUMN_PREFIX + name)
            values[no_video] = np.nan
            excessive = np.abs(values) > MAX_AMOUNT
            if excessive.any():
                self._count_reason(name, NOT_FINITE, int(excessive.sum()))
                values[excessive] = np.nan
        return numbers

    def _count_reason(self, metric: str, reason: str, count: int) -> None:
        code, _, sentence = reason.partition(": ")
        reasons = self.reasons.setdefault(metric, {})
        code = code if code in reasons or len(reasons) < MAX_CODES else OTHER
        previous, example = reasons.get(code, (0, sentence))
        reasons[code] = (previous + count, example)


def _floats(table: pa.Table, name: str) -> np.ndarray:
    """Return a copy of a column as float64 with NaN for nulls; numbers above 2^53 are rounded."""
    return np.array(table.column(name).cast(pa.float64(), safe=False).to_numpy(), np.float64)


def _value_counts(column: pa.ChunkedArray) -> Iterator[tuple[Any, int]]:
    """Return the values of a column in order of appearance with their counts; nulls and empty texts are skipped."""
    return ((entry["values"], entry["counts"]) for entry in pc.value_counts(column).to_pylist() if entry["values"])


def _add(counter: Counter[str], name: str, count: int) -> None:
    counter[name if name in counter or len(counter) < MAX_CODES else OTHER] += count
