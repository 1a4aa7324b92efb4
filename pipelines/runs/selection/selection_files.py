"""Write the selected rows as one Parquet file, and why the others were left out as another."""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from joyvasa.errors import InputError
from joyvasa.runtime.locations import get_local_path, is_remote
from joyvasa.runtime.result_tables import SHARDS
from manifests.problems import ManifestError, safe_text
from manifests.run.manifest_file import MANIFEST
from manifests.run.outcome_table import passthrough_name
from manifests.storage import Storage, open_storage
from pipelines.runs.selection.selection import Selection

pc: Any = pyarrow.compute  # defines its functions dynamically, which type checkers do not see
SUFFIX = ".parquet"
REJECTED = ".rejected.parquet"  # suffix of the file with the rows that were left out
RUN, SPLIT = "run", "split"  # columns of a selection that outcome tables lack
REJECTED_SCHEMA = pa.schema([("record_id", pa.string()), ("run", pa.string()), ("reason", pa.string())])
OPTIONS = "joyvasa.selection"  # metadata key with the options, as JSON
STATUS_CODE = 1  # code of rows whose status is not accepted, see `Criteria.drop`


def check_selection_path(path: str, runs: Sequence[str]) -> None:
    """Check the path of a selection of runs before rows are read.

    Raises:
        InputError: `output_format`.
        ManifestError: `output_unwritable`, or `output_is_input` if a run has its own files there.
    """
    storage, name = _split_path(path)
    location = _real_location(storage.location(name))
    for run in runs:
        root = _real_location(open_storage(run).root)
        if location == f"{root}/{MANIFEST}" or location.startswith(f"{root}/{SHARDS}/"):
            sentence = f"{safe_text(path, 200)}: a place of files of the run itself; expected another one: rename it"
            raise ManifestError("output_is_input", sentence)
    storage.require_writable(name)


def _real_location(location: str) -> str:
    return location if is_remote(location) else os.path.realpath(location)


def _split_path(path: str) -> tuple[Storage, str]:
    """Return the storage of the folder of a selection, and the name of its file.

    Raises:
        InputError: `output_format`.
    """
    if not path.endswith(SUFFIX) or path.endswith(REJECTED) or posixpath.basename(path) == SUFFIX:
        raise InputError("output_format", f"{safe_text(path, 200)}: expected a name that ends with {SUFFIX}: rename it")
    parent, name = posixpath.split(path if is_remote(path) else get_local_path(path))
    return open_storage(parent or "."), name


def write_selection(
    selection: Selection,
    path: str,
    split_names: Sequence[str] = (),
    *,
    on_rows: Callable[[int], object] = lambda rows: None,
) -> tuple[str, str]:
    """Write a selection: all outcome columns of the selected rows, `run`, and `split` if there are splits.

    The metadata of the file have the options. If no row is selected, only the reasons are written, and an older file is
    removed.

    A passed-through column named `run` or `split` becomes `input_run` or `input_split`.

    Args:
        selection: selection to write.
        path: Parquet file to write; a path or URI.
        split_names: names of the splits.
        on_rows: callback with the number of rows read.

    Returns:
        The locations of the selection and of the rejected rows, `<path without suffix>.rejected.parquet`.

    Raises:
        InputError: `output_format`, `selection_empty`, `records_unreadable`, or `rows_changed` if a run changed
            meanwhile.
        ManifestError: `output_unwritable`.
    """
    storage, name = _split_path(path)
    rejected_name = name.removesuffix(SUFFIX) + REJECTED
    schema = _selection_schema(selection.tables.schema, has_splits=selection.split is not None)
    schema = schema.with_metadata({**(schema.metadata or {}), OPTIONS: selection.options.to_json()})
    reasons = pa.array(selection.criteria.reasons)

    if not selection.selected:
        storage.remove(name)
    # The rejected rows become visible first, so that a visible selection is complete.
    with contextlib.ExitStack() as files:

        def open_file(file: str, schema: pa.Schema) -> pq.ParquetWriter:
            path = files.enter_context(storage.staging(file))
            return files.enter_context(pq.ParquetWriter(path, schema, compression="zstd"))

        selected_file = open_file(name, schema) if selection.selected else None
        rejected_file = open_file(rejected_name, REJECTED_SCHEMA)
        start = 0
        for run, table in selection.tables.iterate():
            rows = slice(start, start + table.num_rows)
            start = rows.stop
            codes = selection.candidates.codes[rows]
            if len(codes) < table.num_rows:
                break
            selected = codes == 0
            if selected_file and selected.any():
                splits = selection.split.splits[rows] if selection.split else None
                selected_file.write_table(_selected_rows(table, schema, run, selected, splits, split_names))
            if not selected.all():
                rejected_file.write_table(_rejected_rows(table, run, codes, reasons))
            on_rows(start)
        if start != len(selection.candidates.codes):
            raise InputError("rows_changed", "a run changed while its rows were read; expected no change: select again")
    if not selection.selected:
        sentence = f"no row meets the criteria; expected at least one: {safe_text(rejected_name, 200)} says why"
        raise InputError("selection_empty", f"{sentence}, relax the conditions")
    return storage.location(name), storage.location(rejected_name)


def _selection_schema(schema: pa.Schema, *, has_splits: bool) -> pa.Schema:
    own = [pa.field(RUN, pa.string(), nullable=False)]
    own += [pa.field(SPLIT, pa.string(), nullable=False)] if has_splits else []
    taken = {*(name for name in schema.names if name not in (RUN, SPLIT)), RUN, SPLIT}
    fields = []
    for entry in schema:
        name = entry.name if entry.name not in (RUN, SPLIT) else passthrough_name(entry.name, taken)
        taken.add(name)
        fields.append(entry.with_name(name))
    return pa.schema([*fields, *own], metadata=schema.metadata)


def _selected_rows(
    table: pa.Table,
    schema: pa.Schema,
    run: str,
    selected: np.ndarray,
    splits: np.ndarray | None,
    split_names: Sequence[str],
) -> pa.Table:
    rows = table.filter(pa.array(selected))
    columns: list[Any] = [*rows.columns, pa.repeat(run, rows.num_rows)]
    if splits is not None:
        columns.append(pa.array(split_names, pa.string()).take(pa.array(splits[selected])))
    return pa.table(columns, schema=schema)


def _rejected_rows(table: pa.Table, run: str, codes: np.ndarray, reasons: pa.Array) -> pa.Table:
    """Return id, run and reason of the rows that were left out; failed rows have the code of their error, too."""
    rows = table.filter(pa.array(codes != 0))
    codes = codes[codes != 0]
    why = reasons.take(pa.array(codes))
    errors = rows.column("error_code").combine_chunks().cast(pa.string())
    with_error = pc.binary_join_element_wise(why, errors, ": ", null_handling="skip")
    reason = pc.if_else(pa.array(codes == STATUS_CODE), with_error, why)
    return pa.table([rows.column("record_id"), pa.repeat(run, len(codes)), reason], schema=REJECTED_SCHEMA)
