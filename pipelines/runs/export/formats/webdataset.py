"""WebDataset: tar files in which a sample is `NAME.mp4` and `NAME.json`, and `NAME.txt` if there are captions."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO, cast

from joyvasa.runtime.files import hash_file
from pipelines.runs.export.formats.json_values import JsonColumns
from pipelines.runs.export.formats.writer import WriterContext, get_captions
from pipelines.runs.export.markers import WrittenFile
from pipelines.runs.export.media import MediaFile
from pipelines.runs.export.plan import PlannedShard


class TarWriter:
    """Writes `SPLIT/00000.tar`; see `FormatWriter`.

    Every sample has the same members and every JSON the same keys with one type each, see `JsonColumns`.
    """

    def __init__(self, context: WriterContext) -> None:
        self._context = context
        self._json = JsonColumns(context.plan.schema, context.plan.statistics.columns)

    def write_shard(self, shard: PlannedShard) -> list[WrittenFile]:
        """See `FormatWriter`."""
        path = f"{shard.name}.tar"
        with self._context.storage.staging(path) as staged:
            with tarfile.open(staged, "w") as tar:
                for records, table in shard.iterate_rows():
                    captions = get_captions(table) if self._context.has_captions else [None] * len(records)
                    for record, row, caption in zip(records, self._json.convert(table), captions, strict=True):
                        _add_media(tar, f"{record.name}.mp4", record.video)
                        _add(tar, f"{record.name}.json", json.dumps(row, ensure_ascii=False).encode())
                        if caption is not None:
                            _add(tar, f"{record.name}.txt", caption.encode())
            return [WrittenFile(path, staged.stat().st_size, hash_file(staged))]

    def write_tables(self, shards: Mapping[str, Sequence[PlannedShard]]) -> list[WrittenFile]:
        """See `FormatWriter`."""
        return []

    def list_patterns(self, split: str) -> list[str]:
        """See `FormatWriter`."""
        return [f"{split}/*.tar"]


class _ChunkReader(io.RawIOBase):
    """A stream over pieces of bytes."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = chunks, memoryview(b"")

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, fewer than `size` only at the end."""
        parts = []
        while size:
            if not self._rest:
                self._rest = memoryview(next(self._chunks, b""))
                if not self._rest:
                    break
            part, self._rest = self._rest[:size], self._rest[size:]
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


def _add_media(tar: tarfile.TarFile, name: str, media: MediaFile) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = media.bytes
    reader = _ChunkReader(media.chunks())
    tar.addfile(entry, cast(BinaryIO, reader))
    reader.read(1)  # reaches the end, where the content is checked


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
