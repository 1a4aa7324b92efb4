"""WebDataset: tar files in which a sample is `NAME.mp4` and `NAME.json`, and `NAME.txt` if there are captions."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from joyvasa.runtime.json_text import format_json
from pipelines.runs.export.formats.json_values import JsonColumns
from pipelines.runs.export.formats.writer import FormatWriter
from pipelines.runs.export.markers import WrittenFile
from pipelines.runs.export.media import MediaFile
from pipelines.runs.export.plan import PlannedShard


@dataclass(eq=False)
class TarWriter(FormatWriter):
    """Writes `SPLIT/00000.tar`; see `FormatWriter`.

    Every sample has the same members and every JSON the same keys with one type each, see `JsonColumns`.
    """

    suffix = "tar"

    def __post_init__(self) -> None:
        self._json = JsonColumns(self.plan.schema, self.plan.statistics.columns)

    def write_shard(self, shard: PlannedShard) -> list[WrittenFile]:
        """See `FormatWriter`."""
        return [self.write_file(f"{shard.name}.tar", lambda path: self._write_tar(path, shard))]

    def _write_tar(self, path: Path, shard: PlannedShard) -> None:
        with tarfile.open(path, "w") as tar:
            for records, table in shard.iterate_rows():
                rows, captions = self._json.convert(table), self.get_captions(table)
                for record, row, caption in zip(records, rows, captions, strict=True):
                    _add_media(tar, f"{record.name}.mp4", record.video)
                    _add(tar, f"{record.name}.json", format_json(row, ensure_ascii=False).encode())
                    if caption is not None:
                        _add(tar, f"{record.name}.txt", caption.encode())


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
