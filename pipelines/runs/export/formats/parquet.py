"""Parquet shards with the videos as bytes, and portraits and recordings if they are included."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from joyvasa.errors import InputError
from joyvasa.runtime.files import hash_file
from pipelines.runs.export.formats.writer import WriterContext
from pipelines.runs.export.markers import WrittenFile
from pipelines.runs.export.media import MediaFile, get_suffix
from pipelines.runs.export.plan import PlannedRecord, PlannedShard

GROUP_BYTES = 64_000_000  # media per row group, which bounds memory
MEDIA_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])  # of the media features of `datasets`
FEATURES = {"video": "Video", "portrait": "Image", "audio": "Audio"}


class ParquetShardWriter:
    """Writes `SPLIT/00000.parquet`, all with one schema; see `FormatWriter`.

    The metadata of the schema names the features of the media columns, so that `datasets` decodes them.
    """

    def __init__(self, context: WriterContext) -> None:
        self._context = context
        self._media = [kind for kind in FEATURES if kind == "video" or context.config.with_inputs]
        schema = pa.schema([*((kind, MEDIA_TYPE) for kind in self._media), *context.plan.schema])
        features = {kind: {"_type": FEATURES[kind]} for kind in self._media}
        self.schema = schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})

    def write_shard(self, shard: PlannedShard) -> list[WrittenFile]:
        """See `FormatWriter`."""
        path = f"{shard.name}.parquet"
        plain = [entry.name for entry in self._context.plan.schema if not pa.types.is_nested(entry.type)]
        with self._context.storage.staging(path) as staged:
            options: dict[str, Any] = {"compression": "zstd", "use_dictionary": plain, "write_statistics": plain}
            with pq.ParquetWriter(str(staged), self.schema, **options) as writer:
                for records, table in _iterate_groups(shard):
                    media = [self._read(kind, records) for kind in self._media]
                    columns = [*media, *table.columns]
                    writer.write_table(pa.table(columns, schema=self.schema), row_group_size=len(records))
            return [WrittenFile(path, staged.stat().st_size, hash_file(staged))]

    def write_tables(self, shards: Mapping[str, Sequence[PlannedShard]]) -> list[WrittenFile]:
        """See `FormatWriter`."""
        return []

    def list_patterns(self, split: str) -> list[str]:
        """See `FormatWriter`."""
        return [f"{split}/*.parquet"]

    def _read(self, kind: str, records: list[PlannedRecord]) -> pa.Array:
        cells = [_read_cell(record, kind) for record in records]
        return pa.array(cells, MEDIA_TYPE)


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
