"""Parquet shards with the videos as bytes, and portraits and recordings if they are included."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from joyvasa.errors import InputError
from pipelines.runs.export.formats.writer import FormatWriter
from pipelines.runs.export.markers import WrittenFile
from pipelines.runs.export.media import MediaFile, get_suffix
from pipelines.runs.export.plan import PlannedRecord, PlannedShard

GROUP_BYTES = 64_000_000  # media per row group, which bounds memory
MEDIA_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])  # of the media features of `datasets`
FEATURES = {"video": "Video", "portrait": "Image", "audio": "Audio"}


@dataclass(eq=False)
class ParquetShardWriter(FormatWriter):
    """Writes `SPLIT/00000.parquet`, all with one schema; see `FormatWriter`.

    The metadata of the schema names the features of the media columns, so that `datasets` decodes them.
    """

    suffix = "parquet"

    def __post_init__(self) -> None:
        self._media = [kind for kind in FEATURES if kind == "video" or self.config.with_inputs]
        schema = pa.schema([*((kind, MEDIA_TYPE) for kind in self._media), *self.plan.schema])
        features = {kind: {"_type": FEATURES[kind]} for kind in self._media}
        self.schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})

    def write_shard(self, shard: PlannedShard) -> list[WrittenFile]:
        """See `FormatWriter`."""
        return [self.write_file(f"{shard.name}.parquet", lambda path: self._write_parquet(path, shard))]

    def _write_parquet(self, path: Path, shard: PlannedShard) -> None:
        plain = [entry.name for entry in self.plan.schema if not pa.types.is_nested(entry.type)]
        options: dict[str, Any] = {"compression": "zstd", "use_dictionary": plain, "write_statistics": plain}
        with pq.ParquetWriter(str(path), self.schema, **options) as writer:
            for records, table in _iterate_groups(shard):
                media = [pa.array([_read_cell(record, kind) for record in records], MEDIA_TYPE) for kind in self._media]
                columns = [*media, *table.columns]
                writer.write_table(pa.table(columns, schema=self.schema), row_group_size=len(records))


def _read_cell(record: PlannedRecord, kind: str) -> dict[str, Any] | None:
    if kind == "video":
        return {"bytes": record.video.read(), "path": f"{record.name}.mp4"}
    media: MediaFile | None = getattr(record, kind)
    if media is None:
        return None
    try:
        return {"bytes": media.read(), "path": f"{record.name}{get_suffix(media.location)}"}
    except (InputError, OSError):  # it is not the file that the video was made from, or it cannot be read any more
        return None


def _iterate_groups(shard: PlannedShard) -> Iterator[tuple[list[PlannedRecord], pa.Table]]:
    """Yield the rows of each row group."""
    for records, table in shard.iterate_rows():
        start, filled = 0, 0
        for index, record in enumerate(records):
            size = sum(media.bytes for media in (record.video, record.portrait, record.audio) if media)
            if index > start and filled + size > GROUP_BYTES:
                yield records[start:index], table.slice(start, index - start)
                start, filled = index, 0
            filled += size
        yield records[start:], table.slice(start)
