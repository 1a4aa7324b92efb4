"""The outcome rows of several runs as one table that is read in pieces."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from joyvasa.errors import InputError, first_line
from joyvasa.runtime.result_tables import find_finished_tables, iterate_tables, read_fact_names, read_schema
from manifests.expressions import NamedColumns
from manifests.problems import safe_text
from manifests.run.folder import RunFolder
from manifests.run.outcome_table import FACTS, INPUT_FIELDS, METRIC_COLUMN_PREFIX, RESULT_FIELDS
from manifests.storage import open_storage


@dataclass(frozen=True)
class RunTables:
    """The outcome tables of the finished shards of several runs."""

    runs: tuple[str, ...]  # run folders; absolute paths or URIs
    files: tuple[tuple[str, ...], ...]  # outcome tables of each run, in manifest order
    unfinished: tuple[int, ...]  # number of unfinished shards of each run, whose rows are not among them
    schema: pa.Schema  # columns of all runs; those that a run lacks are null in its rows

    @property
    def columns(self) -> NamedColumns:
        """The columns by name, see `name_columns`."""
        return name_columns(self.schema)

    def iterate(self, columns: Sequence[str] | None = None) -> Iterator[tuple[str, pa.Table]]:
        """Yield the rows in order, as pairs of a run and a table with some of its rows.

        Args:
            columns: columns to read; None reads all.

        Raises:
            InputError: `records_unreadable`.
        """
        for run, files in zip(self.runs, self.files, strict=True):
            for table in iterate_tables(files, self.schema, columns):
                yield run, table


def name_columns(schema: pa.Schema) -> NamedColumns:
    """Return the columns that conditions can name; the metric `sync_c` is `sync_c` and `metric_sync_c`."""
    metrics = {name.removeprefix(METRIC_COLUMN_PREFIX): name for name in schema.names}
    return NamedColumns(schema, {short: name for short, name in metrics.items() if short not in schema.names})


def shorten_column(column: str, names: Collection[str]) -> str:
    """Return the shortest name of a column in conditions: that of a metric, unless another column has the same.

    Args:
        column: name of the column.
        names: names of all columns.
    """
    short = column.removeprefix(METRIC_COLUMN_PREFIX)
    return column if short in names else short


def open_run_tables(runs: Sequence[str]) -> RunTables:
    """Find the outcome tables of runs.

    Args:
        runs: run folders; paths or URIs.

    Raises:
        ManifestError: `run_missing`.
        InputError: `run_missing`, `run_repeated`, `records_unreadable`, `rows_missing` if no shard is finished, or
            `columns_conflict` if a column has types in two runs that have no common type.
    """
    folders = [RunFolder(open_storage(run)) for run in runs]
    roots = [folder.storage.root for folder in folders]
    if repeated := next((root for root in roots if roots.count(root) > 1), None):
        raise InputError("run_repeated", f"{safe_text(repeated, 200)}: is given twice; expected different runs")
    files = [find_finished_tables(root) for root in roots]
    if not any(files):
        shown = ", ".join(safe_text(root, 200) for root in roots)
        raise InputError("rows_missing", f"{shown}: no shard is finished; expected at least one: resume the run")

    shards = [len(folder.read_manifest()) for folder in folders]
    unfinished = (total - len(finished) for total, finished in zip(shards, files, strict=True))
    return RunTables((*roots,), tuple(map(tuple, files)), (*unfinished,), _merge_schemas(roots, files))


def _merge_schemas(roots: Sequence[str], files: Sequence[Sequence[str]]) -> pa.Schema:
    merged, facts = pa.schema([*RESULT_FIELDS, *INPUT_FIELDS]), {}  # older tables have fewer columns
    for root, schema in zip(roots, map(read_schema, files), strict=True):
        try:
            merged = pa.unify_schemas([merged, schema], promote_options="permissive")
        except pa.ArrowException as error:
            reason = safe_text(first_line(error), 200)
            sentence = f"{safe_text(root, 200)}: has a column of another type than the runs before it ({reason})"
            raise InputError("columns_conflict", f"{sentence}; expected one type: select from each run alone") from None
        metadata = schema.metadata or {}
        facts |= dict.fromkeys(read_fact_names(schema))
        merged = merged.with_metadata({**metadata, FACTS: json.dumps([*facts])} if metadata else merged.metadata)
    return merged
