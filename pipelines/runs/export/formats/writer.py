"""The interface of formats: writers of shards, and the files with which a format ends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa
import pyarrow.types as is_type

from joyvasa.runtime.files import hash_file
from manifests.storage import Storage
from pipelines.runs.export.config import ExportConfig
from pipelines.runs.export.markers import WrittenFile
from pipelines.runs.export.plan import ExportPlan, PlannedShard

CAPTION = "text"  # column with what is spoken; becomes a file next to the video
HUB_SPLITS = {"train": "train", "val": "validation", "test": "test"}  # names of splits that `datasets` gives folders


@dataclass(frozen=True)
class WriterContext:
    """What a writer needs."""

    storage: Storage  # folder of the data set
    config: ExportConfig  # options of the export
    plan: ExportPlan  # shards and figures of the data set

    @property
    def has_captions(self) -> bool:
        """Whether the rows have a text column `text`."""
        schema = self.plan.schema
        return CAPTION in schema.names and is_type.is_string(schema.field(CAPTION).type)


class FormatWriter(Protocol):
    """Writer of one format."""

    def write_shard(self, shard: PlannedShard) -> list[WrittenFile]:
        """Write the files of a shard; each appears when it is complete.

        Raises:
            InputError: `media_changed`.
            ManifestError: `output_unwritable`.
        """
        ...

    def write_tables(self, shards: Mapping[str, Sequence[PlannedShard]]) -> list[WrittenFile]:
        """Write files that describe whole splits, after all shards; none in most formats."""
        ...

    def list_patterns(self, split: str) -> list[str]:
        """Return the patterns of the files of a split for the data card."""
        ...


def write_whole(storage: Storage, path: str, content: bytes) -> WrittenFile:
    """Write a small file atomically."""
    with storage.staging(path) as staged:
        staged.write_bytes(content)
        digest = hash_file(staged)
    return WrittenFile(path, len(content), digest)


def get_captions(table: pa.Table) -> list[str]:
    """Return the captions of rows; empty for null."""
    return [value or "" for value in table.column(CAPTION).to_pylist()]
