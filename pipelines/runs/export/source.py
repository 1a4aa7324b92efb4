"""Rows to export: the ok rows of a run, or those of a selection."""

from __future__ import annotations

import os
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pyarrow.types as is_type

from joyvasa.errors import InputError
from joyvasa.runtime.locations import is_remote
from joyvasa.runtime.result_tables import clear_invalid_amounts, find_finished_tables, iterate_tables, read_schema
from manifests.formats.plain_types import plain_batch, plain_schema
from manifests.manifest import open_binary, resolve_location
from manifests.problems import ManifestError, safe_text
from manifests.run.description import RunDescription
from manifests.run.folder import RunFolder
from manifests.storage import Storage, open_storage
from pipelines.runs.selection.options import SelectionOptions
from pipelines.runs.selection.selection_files import OPTIONS

BATCH_ROWS = 1024
_TEXT = (lambda kind: is_type.is_string(kind) or is_type.is_null(kind)), "text"
_NUMBER = (lambda kind: is_type.is_floating(kind) or is_type.is_integer(kind) or is_type.is_null(kind)), "numbers"
COLUMN_TYPES = {  # checks of the columns that an export reads, if a selection has them
    **dict.fromkeys(("record_id", "run", "split", "status", "video", "input_video", "image", "audio"), _TEXT),
    **dict.fromkeys(("duration_s", "frames"), _NUMBER),
    "shard": (is_type.is_integer, "whole numbers"),
}
REQUIRED = ("record_id", "shard", "video")  # columns without which a file is no selection


@dataclass(frozen=True)
class SourceRun:
    """A run with exported rows."""

    name: str  # short name, unique within the export
    folder: RunFolder  # run folder
    description: RunDescription  # content of `run.yaml`
    source_folder: str  # folder that relative paths in rows refer to

    def locate_video(self, row: dict[str, Any]) -> str | None:
        """Return the location of a video; the path in a row of a generated video is ignored, it may point anywhere."""
        if row["video"]:
            return self.folder.storage.location(self.folder.video_path(row["shard"], row["record_id"]))
        return self.locate_input(row.get("input_video")) if self.description.kind == "evaluate" else None

    def locate_input(self, path: str | None) -> str | None:
        """Return the location of a media file of the manifest."""
        return resolve_location(self.source_folder, path) if path else None


class ExportSource:
    """The rows of a run or a selection, read in order.

    Args:
        location: run folder or Parquet file; a path or URI.

    Raises:
        InputError: `records_unreadable` or `selection_invalid`.
        ManifestError: `run_missing`, `run_unreadable` or `manifest_missing`.

    Attributes:
        schema: columns of the rows; always with `run` if it is a selection.
        selection_options: criteria of the selection, if its file has them.
        is_selection: whether the rows come from a selection.
        runs: runs by their location, known once their rows were read.
    """

    def __init__(self, location: str) -> None:
        storage = open_storage(location)
        self.location = storage.root
        self.is_selection = not storage.exists(RunFolder.RUN)
        self.selection_options: SelectionOptions | None = None
        self.runs: dict[str, SourceRun] = {}
        self._files: list[str] = []
        if self.is_selection:
            self.schema = self._read_selection_schema(storage)
        else:
            self._open_run(self.location)
            self._files = find_finished_tables(self.location)
            self.schema = plain_schema(read_schema(self._files).remove_metadata())

    def iterate_batches(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """Yield the rows as tables of at most `BATCH_ROWS` rows.

        Args:
            columns: columns of a selection to read; None reads all.

        Raises:
            InputError: `records_unreadable` or `selection_invalid`.
        """
        if self.is_selection:
            yield from self._iterate_selection(columns)
        elif self._files:
            for table in iterate_tables(self._files, self.schema, filter=ds.field("status") == "ok"):
                for batch in table.to_batches(max_chunksize=BATCH_ROWS):
                    if batch.num_rows:
                        yield pa.Table.from_batches([batch])

    def count_records(self) -> int:
        """Return the number of records of a run, or of rows of a selection."""
        if self.is_selection:
            return self._open_selection().metadata.num_rows
        return self.runs[self.location].description.manifest.records

    def open_runs(self) -> None:
        """Open all runs, in the order of their rows.

        Raises:
            InputError: `selection_invalid` or `run_without_videos`.
            ManifestError: `run_missing` or `run_unreadable`.
        """
        for batch in self.iterate_batches(["run"]) if self.is_selection else ():
            for run in batch.column("run").unique().to_pylist():
                if not run:
                    sentence = "a row has no run; expected the folder of its run: select again"
                    raise InputError("selection_invalid", f"{safe_text(self.location, 200)}: {sentence}")
                self._open_run(self._resolve_run(run))

    def find_run(self, row: dict[str, Any]) -> SourceRun:
        """Return the run of a row."""
        return self.runs[self._resolve_run(row["run"]) if self.is_selection else self.location]

    @property
    def has_splits(self) -> bool:
        """Whether the rows state their split; a column `split` of a manifest has no meaning."""
        return self.is_selection and "split" in self.schema.names

    def _open_run(self, location: str) -> None:
        if location in self.runs:
            return
        folder = RunFolder(open_storage(location))
        description = folder.read_description()
        if description.kind == "prepare":
            sentence = "is a data set of motion; expected a run of generate or evaluate: it has no videos to export"
            raise InputError("run_without_videos", f"{safe_text(location, 200)}: {sentence}")
        name = name_run(folder.storage.root, {run.name for run in self.runs.values()})
        self.runs[location] = SourceRun(name, folder, description, folder.find_source_folder(description))

    def _resolve_run(self, run: str) -> str:
        location = resolve_location(self.location.rpartition("/")[0], run).rstrip("/")
        return location if is_remote(location) else os.path.abspath(location)

    def _read_selection_schema(self, storage: Storage) -> pa.Schema:
        shown = safe_text(self.location, 200)
        if not storage.exists(""):
            expected = "expected a run folder or a Parquet file of joyvasa select: check the path"
            raise ManifestError("run_missing", f"{shown}: holds no run.yaml and is no file; {expected}")
        try:
            schema = self._open_selection().schema_arrow
        except (pa.ArrowException, OSError, ValueError) as error:
            reason = safe_text(str(error), 200)
            sentence = f"{shown}: cannot be read as Parquet ({reason}); expected a selection: select again"
            raise InputError("selection_invalid", sentence) from None
        if repeated := [name for name, count in Counter(schema.names).items() if count > 1]:
            sentence = f"{shown}: has several columns {safe_text(repeated[0])}; expected different names: select again"
            raise InputError("selection_invalid", sentence)
        if missing := [name for name in (*REQUIRED, "run") if name not in schema.names]:
            sentence = f"{shown}: has no column {', '.join(missing)}; expected a Parquet file of joyvasa select"
            raise InputError("selection_invalid", sentence)
        options = (schema.metadata or {}).get(OPTIONS.encode())
        self.selection_options = SelectionOptions.from_json(options) if options else None
        schema = plain_schema(schema.remove_metadata())
        for name, (is_expected, expected) in COLUMN_TYPES.items():
            if name in schema.names and not is_expected(kind := schema.field(name).type):
                sentence = f"{shown}: column {name} has type {kind}; expected {expected}: select again"
                raise InputError("selection_invalid", sentence)
        return schema

    def _open_selection(self) -> pq.ParquetFile:
        return pq.ParquetFile(open_binary(self.location))

    def _iterate_selection(self, columns: list[str] | None) -> Iterator[pa.Table]:
        try:
            for batch in self._open_selection().iter_batches(BATCH_ROWS, columns=columns):
                table = pa.Table.from_batches([plain_batch(batch)]).replace_schema_metadata(None)
                yield clear_invalid_amounts(table)
        except (pa.ArrowException, OSError, ValueError) as error:
            sentence = f"{safe_text(self.location, 200)}: cannot be read ({safe_text(str(error), 200)}): select again"
            raise InputError("selection_invalid", sentence) from error


def name_run(location: str, used: Iterable[str]) -> str:
    """Return a short unique name of a run: the last part of its location, numbered if that name is used."""
    base = re.sub(r"[^\w.-]+", "_", posixpath.basename(location.rstrip("/")))[:48].strip(".") or "run"
    name, number = base, 2
    while name in used:
        name, number = f"{base}-{number}", number + 1
    return name
