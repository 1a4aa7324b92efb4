"""Selection of the writer of a format."""

from __future__ import annotations

from pipelines.runs.export.formats.folder import FolderWriter
from pipelines.runs.export.formats.parquet import ParquetShardWriter
from pipelines.runs.export.formats.webdataset import TarWriter
from pipelines.runs.export.formats.writer import FormatWriter, WriterContext


def open_writer(context: WriterContext) -> FormatWriter:
    """Return the writer of the format of an export."""
    if context.config.with_files:
        return FolderWriter(context)
    return TarWriter(context) if context.config.format == "webdataset" else ParquetShardWriter(context)
