"""Planning of an export: one pass over all rows, which checks them and divides them into shards."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from joyvasa.errors import InputError
from joyvasa.runtime.files import hash_file
from manifests.hash_index import HashIndex
from manifests.problems import safe_text
from manifests.record import file_stem
from manifests.speech import fill_column, read_texts, read_voices
from pipelines.report.rows import ProgressCallback
from pipelines.runs.export.columns import PublishedColumns
from pipelines.runs.export.config import ExportConfig
from pipelines.runs.export.formats.json_values import JsonColumns
from pipelines.runs.export.licenses import find_license_columns
from pipelines.runs.export.media import INPUT_COLUMNS, MEDIA_COLUMNS, MEDIA_KINDS, RowMedia
from pipelines.runs.export.plan import MAX_FOLDER_RECORDS, OWN_FIELDS, ExportPlan, PlannedShard, ShardTables
from pipelines.runs.export.source import ExportSource, SourceRun
from pipelines.runs.export.statistics import SplitStats
from pipelines.runs.selection.splits import SPLITS

pc: Any = pyarrow.compute  # defines its functions dynamically, which type checkers do not see
RECORD_BYTES = 4096  # assumed size of a record without its media: its row and the headers of an archive
SAMPLES = 6  # number of videos on the contact sheet
READ_COLUMNS = (*MEDIA_COLUMNS, "status", "split", "run", "duration_s", "frames")


def plan_export(
    source: ExportSource, config: ExportConfig, scratch: Path, *, on_progress: ProgressCallback
) -> ExportPlan:
    """Read all rows once: check them, look up their files and divide them into shards, in an empty local folder.

    Raises:
        InputError: `selection_invalid`, `video_missing`, `export_empty`, `records_unreadable` or `run_without_videos`.
        ManifestError: `run_missing` or `run_unreadable`.
    """
    source.open_runs()  # names of files depend on the number of runs
    columns = PublishedColumns(source.schema, has_runs=source.is_selection)
    plan = ExportPlan(columns.schema)
    tables = ShardTables(
        scratch,
        pa.schema([*OWN_FIELDS, *columns.schema]),
        max_bytes=config.shard_bytes,
        max_records=MAX_FOLDER_RECORDS if config.with_files else None,
    )
    with tables, RowMedia(with_inputs=config.with_inputs) as media:
        planner = _RowPlanner(source, columns, plan, tables, media)
        for batch in source.iterate_batches():
            planner.add(batch)
            on_progress("rows", plan.statistics.records, plan.statistics.records)
    if not plan.statistics.records:
        raise InputError("export_empty", f"{safe_text(source.location, 200)}: has no ok rows: nothing to export")

    for split in filter(tables.finished.get, SPLITS):
        salt = _format_settings(plan, config, split)
        plan.shards[split] = [
            PlannedShard(split, number, path, records, hashlib.sha256(salt + hash_file(path).encode()).hexdigest())
            for number, (path, records) in enumerate(tables.finished[split])
        ]
        plan.statistics.splits[split].shards = len(plan.shards[split])
    return plan


def _format_settings(plan: ExportPlan, config: ExportConfig, split: str) -> bytes:
    """Return the options that affect the files of a shard in addition to its rows."""
    settings: list[Any] = [config.format, config.media, config.with_inputs, plan.schema.to_string()]
    if config.with_files:
        settings.append(plan.statistics.splits[split].records > MAX_FOLDER_RECORDS)
    if config.format == "webdataset":
        settings.append(JsonColumns(plan.schema, plan.statistics.columns).kinds)
    return json.dumps(settings).encode()


class _RowPlanner:
    """Adds rows to a plan."""

    def __init__(
        self, source: ExportSource, columns: PublishedColumns, plan: ExportPlan, tables: ShardTables, media: RowMedia
    ) -> None:
        self._source, self._columns, self._plan, self._tables, self._media = source, columns, plan, tables, media
        self._license_columns = find_license_columns(columns.schema)
        self._several_runs = len(source.runs) > 1
        self._index = HashIndex()
        self._random = random.Random(0)

    def add(self, batch: pa.Table) -> None:
        """Add rows.

        Raises:
            InputError: `selection_invalid` or `video_missing`.
        """
        columns = [name for name in READ_COLUMNS if name in batch.column_names]
        rows: list[dict[str, Any]] = batch.select(columns).to_pylist()
        texts, voices = (fill_column(values, len(rows)) for values in (read_texts(batch), read_voices(batch)))
        for row, text, voice in zip(rows, texts, voices, strict=True):
            row |= {"text": text, "voice": voice}
        runs = [self._source.find_run(row) for row in rows]
        self._check(rows, runs)

        own = self._media.find(rows, runs)
        names = [self._name(row, run) for row, run in zip(rows, runs, strict=True)]
        published = self._columns.convert(batch, [run.name for run in runs])
        arrays = [pa.array(names, pa.string()), *own, *(column.combine_chunks() for column in published.columns)]
        table = pa.Table.from_arrays(arrays, schema=pa.schema([*OWN_FIELDS, *published.schema]))

        media_sizes = [pc.fill_null(own[3 * kind + 1], 0).to_numpy() for kind in range(len(MEDIA_KINDS))]
        sizes = np.sum(media_sizes, axis=0) + RECORD_BYTES
        splits = np.array([row["split"] if self._source.has_splits else SPLITS[0] for row in rows])
        for split in dict.fromkeys(splits.tolist()):
            indices = np.flatnonzero(splits == split)
            self._tables.add(split, table.take(indices), sizes[indices].tolist())
        self._count(rows, splits.tolist(), own)
        self._plan.statistics.add(published, self._license_columns)

    def _name(self, row: dict[str, Any], run: SourceRun) -> str:
        return _name_record(run.name if self._several_runs else "", row["record_id"])

    def _check(self, rows: Sequence[dict[str, Any]], runs: Sequence[SourceRun]) -> None:
        """Check that every record occurs once, is ok, and is in a known split."""
        n_known = len(self._index)
        keys = [f"{run.folder.storage.root}\n{row['record_id']}" for row, run in zip(rows, runs, strict=True)]
        numbers = self._index.add(keys).tolist()
        seen: set[int] = set()
        for row, number in zip(rows, numbers, strict=True):
            problem = ""
            if number < n_known or number in seen:
                problem = "occurs twice; expected each record of a run once"
            elif row["record_id"] is None or row["shard"] is None:
                problem = "has no record_id or shard; expected both"
            elif row.get("status", "ok") != "ok":
                problem = f"has status {safe_text(row['status'])}; expected ok"
            elif self._source.has_splits and row["split"] not in SPLITS:
                problem = f"is in split {safe_text(row['split'])}; expected {', '.join(SPLITS)}"
            if problem:
                where = f"{safe_text(self._source.location, 200)}: record {safe_text(row['record_id'])}"
                raise InputError("selection_invalid", f"{where}: {problem}: select again")
            seen.add(number)

    def _count(self, rows: Sequence[dict[str, Any]], splits: Sequence[str], own: Sequence[pa.Array]) -> None:
        statistics = self._plan.statistics
        videos, sizes = own[0].to_pylist(), own[1].to_pylist()
        for row, split, video, size in zip(rows, splits, videos, sizes, strict=True):
            self._sample(statistics.records, video, row.get("duration_s"))
            stats = statistics.splits.setdefault(split, SplitStats())
            stats.records += 1
            stats.duration_s += row.get("duration_s") or 0.0
            stats.frames += int(row.get("frames") or 0)
            stats.bytes += size
        for position, kind in enumerate(MEDIA_KINDS):
            if kind != "video" and self._media.with_inputs:
                found = own[3 * position].to_pylist()
                lost = sum(not file and _has_input(row, kind) for row, file in zip(rows, found, strict=True))
                statistics.missing_inputs[kind] += lost

    def _sample(self, index: int, location: str, duration_s: float | None) -> None:
        """Sample videos uniformly (reservoir sampling; Vitter, 1985)."""
        position = index if index < SAMPLES else self._random.randrange(index + 1)
        if position < SAMPLES:
            self._plan.samples[position : position + 1] = [(location, duration_s)]


def _has_input(row: dict[str, Any], kind: str) -> bool:
    """Return whether a row names a portrait or recording, or a text that was spoken."""
    return bool(row.get(INPUT_COLUMNS[kind]) or (kind == "audio" and row.get("text") and row.get("audio_sha256")))


def _name_record(run: str, record_id: str) -> str:
    """Return the name of a record's files, without suffix.

    The name is safe on every file system, unique within an export, and has no dots, at which WebDataset ends a key. An
    id with these properties is its own name.
    """
    stem = file_stem(record_id)
    if not run and stem == record_id and "." not in stem:
        return stem
    return file_stem(f"{run}/{record_id}")  # hashed because of its slash
