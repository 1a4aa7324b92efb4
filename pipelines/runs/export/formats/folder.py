"""Folders with one file per video and one table per split, in the layout of `datasets`' `videofolder`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from joyvasa.errors import InputError
from joyvasa.runtime.json_text import format_json
from pipelines.runs.export.formats.json_values import JsonColumns
from pipelines.runs.export.formats.writer import FormatWriter
from pipelines.runs.export.markers import INPUTS, WrittenFile
from pipelines.runs.export.media import MediaFile, get_suffix
from pipelines.runs.export.plan import MAX_FOLDER_RECORDS, PlannedRecord, PlannedShard
from pipelines.runs.export.statistics import ColumnStats

INPUT_FOLDERS = {"portrait": f"{INPUTS}/portraits", "audio": f"{INPUTS}/audio"}


@dataclass(eq=False)
class FolderWriter(FormatWriter):
    """Writes `SPLIT/NAME.mp4`, captions as `SPLIT/NAME.txt`, and one table per split; see `FormatWriter`.

    The table is `metadata.jsonl`, or `metadata.parquet` for Parquet. A split with more than 10,000 records has one
    subfolder per shard. Inputs lie in `inputs/`, once per content, and are named by the hash of their content.
    """

    def __post_init__(self) -> None:
        self._parquet = self.config.format == "parquet"
        kinds = INPUT_FOLDERS if self.config.with_inputs else ()
        self._names = ["file_name", *(f"{kind}_file" for kind in kinds)]
        self.schema = pa.schema([*((name, pa.string()) for name in self._names), *self.plan.schema])

    def write_shard(self, shard: PlannedShard) -> list[WrittenFile]:
        """See `FormatWriter`."""
        files: list[WrittenFile] = []
        folder = self._folder(shard)
        inputs: set[str] = set()
        for records, table in shard.iterate_rows():
            for record, caption in zip(records, self.get_captions(table), strict=True):
                files.append(self._copy(f"{folder}/{record.name}.mp4", record.video))
                if caption is not None:
                    files.append(self._write(f"{folder}/{record.name}.txt", caption.encode()))
                for kind in INPUT_FOLDERS:
                    files += self._copy_input(kind, getattr(record, kind), inputs)
        return files

    def write_tables(self, shards: Mapping[str, Sequence[PlannedShard]]) -> list[WrittenFile]:
        """See `FormatWriter`."""
        return [self._write_table(split, parts) for split, parts in shards.items()]

    def list_patterns(self, split: str) -> list[str]:
        """See `FormatWriter`."""
        nested = self._is_nested(split)
        return [f"{split}/*/*.mp4" if nested else f"{split}/*.mp4", f"{split}/metadata.{self._suffix}"]

    @property
    def _suffix(self) -> str:
        return "parquet" if self._parquet else "jsonl"

    def _is_nested(self, split: str) -> bool:
        return self.plan.statistics.splits[split].records > MAX_FOLDER_RECORDS

    def _folder(self, shard: PlannedShard) -> str:
        return shard.name if self._is_nested(shard.split) else shard.split

    def _copy(self, path: str, media: MediaFile) -> WrittenFile:
        with self.storage.staging(path) as staged:
            digest = media.copy(staged)
        return WrittenFile(path, media.bytes, digest)

    def _copy_input(self, kind: str, media: MediaFile | None, written: set[str]) -> list[WrittenFile]:
        """Copy an input unless this shard has it already; an unreadable or changed one is left out."""
        if media is None or (path := _locate_input(kind, media)) in written:
            return []
        written.add(path)
        try:
            if self.storage.size(path) == media.bytes:
                return [WrittenFile(path, media.bytes, str(media.sha256))]
            content = media.read()
        except (InputError, OSError):
            return []
        return [self._write(path, content)]

    def _write(self, path: str, content: bytes) -> WrittenFile:
        return self.write_file(path, lambda staged: staged.write_bytes(content))

    def _write_table(self, split: str, shards: Sequence[PlannedShard]) -> WrittenFile:
        write = self._write_parquet if self._parquet else self._write_lines
        return self.write_file(f"{split}/metadata.{self._suffix}", lambda path: write(path, shards))

    def _write_parquet(self, path: Path, shards: Sequence[PlannedShard]) -> None:
        with pq.ParquetWriter(str(path), self.schema, compression="zstd") as writer:
            for table in self._iterate_tables(shards):
                writer.write_table(table)

    def _write_lines(self, path: Path, shards: Sequence[PlannedShard]) -> None:
        columns = dict(self.plan.statistics.columns)
        columns |= {name: ColumnStats(rows=2, nulls=int(name != "file_name")) for name in self._names}
        rows = JsonColumns(self.schema, columns)
        with path.open("wb") as file:
            for table in self._iterate_tables(shards):
                for row in rows.convert(table):
                    file.write(format_json(row, ensure_ascii=False).encode() + b"\n")

    def _iterate_tables(self, shards: Sequence[PlannedShard]) -> Iterator[pa.Table]:
        """Yield the rows of shards with the names of their files; those of inputs are relative to the data set."""
        for shard in shards:
            prefix = f"{shard.number:05d}/" if self._is_nested(shard.split) else ""
            for records, table in shard.iterate_rows():
                names = [pa.array([f"{prefix}{record.name}.mp4" for record in records], pa.string())]
                names += [self._input_names(name.removesuffix("_file"), records) for name in self._names[1:]]
                yield pa.table([*names, *table.columns], schema=self.schema)

    def _input_names(self, kind: str, records: list[PlannedRecord]) -> pa.Array:
        media = [getattr(record, kind) for record in records]
        paths = [_locate_input(kind, entry) if entry else None for entry in media]
        present = {path: self.storage.exists(path) for path in dict.fromkeys(paths) if path}
        return pa.array([path if path and present[path] else None for path in paths], pa.string())


def _locate_input(kind: str, media: MediaFile) -> str:
    """Return the path of an input in the data set."""
    digest = str(media.sha256)
    return f"{INPUT_FOLDERS[kind]}/{digest[:2]}/{digest}{get_suffix(media.location)}"
