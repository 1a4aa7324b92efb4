"""The base class of formats: writers of shards, and the files with which a format ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.types as is_type

from joyvasa.runtime.files import hash_file
from manifests.storage import Storage
from pipelines.runs.export.config import ExportConfig
from pipelines.runs.export.markers import WrittenFile
from pipelines.runs.export.plan import ExportPlan, PlannedShard

CAPTION = "text"  # column with what is spoken; becomes a file next to the video
HUB_SPLITS = {"train": "train", "val": "validation", "test": "test"}  # names of splits that `datasets` gives folders


@dataclass(eq=False)
class FormatWriter(ABC):
    """Base class of the writers of formats."""

    suffix: ClassVar[str]  # of the files of shards
    storage: Storage  # folder of the data set
    config: ExportConfig  # options of the export
    plan: ExportPlan  # shards and figures of the data set

    @abstractmethod
    def write_shard(self, shard: PlannedShard) -> list[WrittenFile]:
        """Write the files of a shard; each appears when it is complete.

        Raises:
            InputError: `media_changed`.
            ManifestError: `output_unwritable`.
        """

    def write_tables(self, shards: Mapping[str, Sequence[PlannedShard]]) -> list[WrittenFile]:
        """Write files that describe whole splits, after all shards; none in most formats."""
        return []

    def list_patterns(self, split: str) -> list[str]:
        """Return the patterns of the files of a split for the data card."""
        return [f"{split}/*.{self.suffix}"]

    def write_file(self, path: str, write: Callable[[Path], object]) -> WrittenFile:
        """Write a file, which appears when it is complete.

        Args:
            path: path within the data set.
            write: function that writes the content to a local file.
        """
        with self.storage.staging(path) as staged:
            write(staged)
            return WrittenFile(path, staged.stat().st_size, hash_file(staged))

    def get_captions(self, table: pa.Table) -> list[str] | list[None]:
        """Return the captions of rows, empty for null; None for each row if there is no text column `text`."""
        schema = self.plan.schema
        if CAPTION not in schema.names or not is_type.is_string(schema.field(CAPTION).type):
            return [None] * table.num_rows
        return [value or "" for value in table.column(CAPTION).to_pylist()]
