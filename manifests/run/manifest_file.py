"""`RUN/manifest.parquet`: the checked rows of a run, one row group per shard.

A run copies its rows when it starts and afterwards reads this file only, so that later changes of the source manifest
have no effect. Columns:

    record_id                     given or derived, see `manifests.record`
    image, audio, motion, video   absolute local paths or URIs
    mode, seed, cfg_scale, priority
    row                           number of the row in the source manifest, see `Problem.row`
    written_image, ...            image, audio, motion and video as written in the source manifest
    (name of an option)           option of the row, or that of the run if the row has none
    (any other)                   passed-through columns with their types; `input_<name>` if the name is taken

The file is a valid manifest for another run. Its metadata has the highest priority of each shard and the signatures of
the files that hold media of the rows.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from joyvasa.runtime.locations import split_member
from joyvasa.runtime.parsing import parse_json
from manifests.expressions import NamedColumns, RowFilter
from manifests.formats.media_columns import MEDIA_COLUMNS
from manifests.manifest import resolve_location
from manifests.option_columns import OptionColumns, is_option
from manifests.problems import ManifestError, Problem, ScanSummary, safe_text
from manifests.record import Record, speech_path
from manifests.run.source_files import require_unchanged_files, sign_files
from manifests.scan import Scan, ScannedBlock
from manifests.speech import fill_column, read_texts, read_voices
from manifests.storage import Storage, unwritable_error

# The results of a shard become visible together, with one table and one marker. 256 records of ten seconds are 43
# minutes of video or some hundred MB, so that results appear early. A manifest of a million rows has 3,907 shards,
# which fit into one folder listing, and the largest batch of a stage is a small part of a shard.
SHARD_RECORDS = 256
MANIFEST = "manifest.parquet"  # in the run folder
INPUT_PREFIX = "input_"  # prefix of a passed-through column whose name is taken
WRITTEN_PREFIX = "written_"  # prefix of a column with a location as written in the source manifest
_SOURCES = b"source_files"  # metadata of the file: folder of the source manifest, and signatures of files in it
# Metadata of the file. Statistics have them, too, but Arrow ends the process when it reads those of a damaged file.
_PRIORITIES = b"shard_priorities"

RECORD_FIELDS = (
    pa.field("record_id", pa.string(), nullable=False),
    pa.field("image", pa.string()),
    pa.field("audio", pa.string()),
    pa.field("motion", pa.string()),
    pa.field("video", pa.string()),
    pa.field("mode", pa.string(), nullable=False),
    pa.field("seed", pa.int64()),
    pa.field("cfg_scale", pa.float64()),
    pa.field("priority", pa.int32(), nullable=False),
    pa.field("row", pa.int64(), nullable=False),
)
_RECORD_COLUMNS: list[str] = [field.name for field in RECORD_FIELDS]
_RENAMED = {"record_id": "id", "seed": "given_seed"}  # columns whose attribute in `Record` has another name
_ATTRIBUTES: list[str] = [_RENAMED.get(name, name) for name in _RECORD_COLUMNS]
_OWN_FIELDS = (*RECORD_FIELDS, *(pa.field(WRITTEN_PREFIX + name, pa.string()) for name in MEDIA_COLUMNS))


@dataclass(frozen=True)
class ShardRecords:
    """The records of one shard."""

    number: int
    records: list[Record]
    table: pa.Table  # all columns of the file, one row per record

    @property
    def extra(self) -> pa.Table:
        """Passed-through columns."""
        return self.table.select(self.table.column_names[len(_OWN_FIELDS) :])


class RunManifest:
    """Reads the rows of a run, one shard at a time.

    Args:
        storage: storage of the run folder.
        source_folder: folder of the source manifest, if it was moved together with the run folder; None if not.

    Raises:
        ManifestError: `run_unreadable`.
    """

    def __init__(self, storage: Storage, source_folder: str | None = None) -> None:
        self._storage = storage
        self._source_folder = source_folder
        with self._open() as file:
            self._metadata = pq.read_metadata(file)
            schema = self._metadata.schema.to_arrow_schema()
            own = [(entry.name, entry.type) for entry in schema][: len(_OWN_FIELDS)]
            if own != [(entry.name, entry.type) for entry in _OWN_FIELDS] or len({*schema.names}) < len(schema):
                raise ValueError("has other columns")
            self._options = sorted(entry.name for entry in schema if is_option(entry))
            metadata = self._metadata.metadata or {}
            priorities, sources = metadata.get(_PRIORITIES, b"[]"), metadata.get(_SOURCES, b'["", {}]')
            self._signed_folder, self._signatures = _parse_sources(sources)
            self.priorities = _parse_priorities(priorities, self._metadata.num_row_groups)  # highest, by shard
            self.records: int = self._metadata.num_rows  # of all shards

    def __len__(self) -> int:
        """Return the number of shards."""
        return len(self.priorities)

    def read_shard(self, number: int) -> ShardRecords:
        """Read the records of one shard, and no others.

        Raises:
            ManifestError: `run_unreadable`.
        """
        with self._open() as file:
            table = pq.ParquetFile(file, metadata=self._metadata).read_row_group(number).replace_schema_metadata()
            columns = [self._read_column(table, name) for name in _RECORD_COLUMNS]
        rows: list[dict[str, Any]] = [dict(zip(_ATTRIBUTES, row, strict=True)) for row in zip(*columns, strict=True)]
        texts, voices = (fill_column(values, len(rows)) for values in (read_texts(table), read_voices(table)))
        for row, text, voice in zip(rows, texts, voices, strict=True):
            if text and not (row["audio"] or row["motion"] or row["video"]):
                row |= {"text": text, "voice": voice, "audio": self._storage.location(speech_path(text, voice))}
        options = [table.column(name).to_pylist() for name in self._options]
        set_by_row = zip(*options, strict=True) if options else [()] * len(rows)
        records = [
            Record(
                shard=number,
                options=tuple(
                    (name, value) for name, value in zip(self._options, values, strict=True) if value is not None
                ),
                **row,
            )
            for row, values in zip(rows, set_by_row, strict=True)
        ]
        return ShardRecords(number, records, table)

    def require_unchanged_media(self, shards: Collection[int]) -> None:
        """Check the files of the source manifest that hold media of the rows of some shards.

        Raises:
            ManifestError: see `require_unchanged_files`.
        """
        if not self._signatures:
            return
        rows: Counter[str] = Counter()
        columns = [*MEDIA_COLUMNS, *(WRITTEN_PREFIX + name for name in MEDIA_COLUMNS)]
        with self._open() as file:
            parquet = pq.ParquetFile(file, metadata=self._metadata)
            for number in shards:
                table = parquet.read_row_group(number, columns)
                for media in zip(*(self._read_column(table, name) for name in MEDIA_COLUMNS), strict=True):
                    rows.update({parts[2] for location in media if location and (parts := split_member(location))})
        folder = self._source_folder or self._signed_folder
        files = {resolve_location(folder, file): signature for file, signature in self._signatures.items()}
        require_unchanged_files(files, rows)

    def _read_column(self, table: pa.Table, name: str) -> list[Any]:
        if self._source_folder is None or name not in MEDIA_COLUMNS:
            return table.column(name).to_pylist()
        written = table.column(WRITTEN_PREFIX + name).to_pylist()
        return [path and resolve_location(self._source_folder, path) for path in written]

    @contextmanager
    def _open(self) -> Generator[BinaryIO]:
        try:
            with self._storage.open(MANIFEST) as file:
                yield file
        except (pa.ArrowException, OSError, ValueError) as error:
            location, reason = safe_text(self._storage.location(MANIFEST), 200), safe_text(str(error), 200)
            sentence = (
                f"{location}: cannot be read ({reason}); expected the rows of the run: restore it or start a new run"
            )
            raise ManifestError("run_unreadable", sentence) from None


def write_manifest(
    scan: Scan,
    path: Path,
    *,
    shard_size: int = SHARD_RECORDS,
    where: Sequence[str] = (),
    limit: int | None = None,
    on_problem: Callable[[Problem], None] | None = None,
) -> ScanSummary:
    """Scan a manifest and write its valid rows as the manifest of a run, in order.

    Memory is limited to one block of rows and one shard, so rows are not sorted by portrait.

    Args:
        scan: new scan.
        path: local file to write.
        shard_size: records per shard; the last shard may be smaller.
        where: conditions that the written rows meet, see `expressions`; media are as in the source.
        limit: maximum number of rows to write; rows after the last one are not read.
        on_problem: callback for each problem, in order; rows with problems are skipped.

    Returns:
        The summary of the rows up to the limit.

    Raises:
        ManifestError: `shard_size`, `output_unwritable`, `rows_missing` if no row meets the conditions, or see
            `Scan.blocks` and `Scan.extra_schema`.
        InputError: `condition_invalid` or `column_unknown`.
    """
    if shard_size < 1:
        raise ManifestError("shard_size", f"shard size is {shard_size}; expected at least 1")
    extra = scan.extra_schema()
    names = _passthrough_names(extra.names)
    options = scan.options
    passed = [
        options.field(name) if options and name in options.specs else field.with_name(name).with_nullable(True)
        for field, name in zip(extra, names, strict=True)
    ]
    schema = pa.schema([*_OWN_FIELDS, *passed])
    row_filter = RowFilter(where, limit, NamedColumns(schema, {name: WRITTEN_PREFIX + name for name in MEDIA_COLUMNS}))

    summary = ScanSummary(notes=scan.summary.notes)
    folder = scan.manifest.folder
    signatures = sign_files(folder, scan.list_media_files())
    sources = {_SOURCES: json.dumps([folder, signatures]).encode()} if signatures else None
    with _Writer(path, schema.with_metadata(sources), shard_size) as writer:
        pending = schema.empty_table()
        for scanned in scan.blocks(extra=True):
            selected, n_read = row_filter.select(_valid_rows(scanned, schema, options))
            if row_filter.is_full:
                scanned = _cut_block(scanned, n_read)
            motions = selected.num_rows - selected.column("motion").null_count
            summary.add(scanned.records, scanned.problems, selected.column("mode").to_pylist(), motions)
            pending = pa.concat_tables([pending, selected])
            whole = pending.num_rows - pending.num_rows % shard_size
            writer.write(pending.slice(0, whole))
            pending = pending.slice(whole)
            if on_problem:
                for problem in scanned.problems:
                    on_problem(problem)
            if row_filter.is_full:
                break
        writer.write(pending)

    summary.left_out = row_filter.left_out
    if where and not summary.modes.total() and summary.rows > summary.bad_rows:
        shown = f"{safe_text(scan.manifest.uri, 200)}: none of {summary.rows:,} rows meets {' and '.join(where)}"
        raise ManifestError("rows_missing", f"{shown}; expected at least one: check the conditions")
    return summary


def _cut_block(scanned: ScannedBlock, n_valid: int) -> ScannedBlock:
    """Return the rows of a block up to a number of valid ones."""
    valid = [index for index, record in enumerate(scanned.records) if record]
    end = valid[n_valid - 1] + 1
    last = scanned.block.numbers[end - 1]
    problems = [problem for problem in scanned.problems if problem.row <= last]
    return ScannedBlock(scanned.block, scanned.records[:end], problems)


def _parse_sources(content: bytes) -> tuple[str, dict[str, Any]]:
    sources = parse_json(content)
    try:
        folder, signatures = sources
        return str(folder), dict(signatures)
    except TypeError:
        raise ValueError("has damaged signatures of files") from None


def _parse_priorities(content: bytes, n_shards: int) -> list[int]:
    priorities = parse_json(content)
    if not isinstance(priorities, list) or len(priorities) != n_shards or not all(type(n) is int for n in priorities):
        raise ValueError("has no priority for each shard")
    return priorities


class _Writer:
    """Writer of the Parquet file, whose errors become `output_unwritable`."""

    def __init__(self, path: Path, schema: pa.Schema, shard_size: int) -> None:
        self._path, self._shard_size = path, shard_size
        self._priorities: list[int] = []
        with self._standard_errors():
            # For so few rows, dictionaries take more time and space than zstd alone, and statistics would be most of
            # the footer.
            self._file = pq.ParquetWriter(
                path, schema, compression="zstd", use_dictionary=False, write_statistics=False
            )

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *_: object) -> None:
        with self._standard_errors():
            self._file.add_key_value_metadata({_PRIORITIES.decode(): json.dumps(self._priorities)})
            self._file.close()

    def write(self, table: pa.Table) -> None:
        """Write complete shards, or the last one."""
        if table.num_rows:  # otherwise there would be a shard without records
            with self._standard_errors():
                self._file.write_table(table, row_group_size=self._shard_size)
            priorities: list[int] = table.column("priority").to_pylist()
            starts = range(0, len(priorities), self._shard_size)
            self._priorities += [max(priorities[start : start + self._shard_size]) for start in starts]

    @contextmanager
    def _standard_errors(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise unwritable_error(str(self._path), error) from error


def _passthrough_names(names: Sequence[str]) -> list[str]:
    """Return unique names for passed-through columns."""
    taken = {field.name for field in _OWN_FIELDS}
    unique: list[str] = []
    for name in names:
        while name in taken:
            name = INPUT_PREFIX + name
        taken.add(name)
        unique.append(name)
    return unique


def _valid_rows(scanned: ScannedBlock, schema: pa.Schema, options: OptionColumns | None) -> pa.Table:
    """Return the valid rows as a table."""
    valid = [index for index, record in enumerate(scanned.records) if record]
    records = [record for record in scanned.records if record]
    columns: list[Any] = [
        pa.array([getattr(record, attribute) for record in records], field.type)
        for attribute, field in zip(_ATTRIBUTES, RECORD_FIELDS, strict=True)
    ]
    for name in MEDIA_COLUMNS:
        written = scanned.block.columns.get(name)
        columns.append(
            pa.array([written[index] or None for index in valid] if written else [None] * len(valid), pa.string())
        )

    passed = scanned.block.extra
    assert passed is not None, "passed-through columns were not requested"
    if len(valid) < len(scanned.records):
        passed = passed.take(pa.array(valid, pa.int64()))
    given = [dict(record.options) for record in records]
    columns += [
        options.array(name, [row.get(name) for row in given]) if options and name in options.specs else column
        for name, column in zip(passed.column_names, passed.columns, strict=True)
    ]
    return pa.table(columns, schema=schema)
