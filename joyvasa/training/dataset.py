"""Random access to the clips of a finished data set, from any number of threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from joyvasa.errors import InputError, ModelError
from joyvasa.motion.sequence import MotionTemplate
from joyvasa.training.clips import ClipRecord, Split
from joyvasa.training.dataset_files import (
    CARD,
    INDEX,
    INDEX_SCHEMA,
    SHARDS,
    TEMPLATE,
    DatasetCard,
    damaged_dataset_error,
    read_card,
)
from joyvasa.training.file_store import FileStore
from joyvasa.training.shard_reader import read_clip

pc: Any = pyarrow.compute  # defines its functions dynamically, which type checkers do not see
OPEN_SHARDS = 32  # open files per thread


@dataclass(frozen=True)
class ClipLocation:
    """Location of a clip in a data set."""

    clip_id: str  # id of the clip
    shard: int  # number of the shard
    row: int  # row in the shard
    n_frames: int  # number of frames of the clip


class Dataset:
    """A finished data set; only its index is held in memory.

    Raises:
        InputError: `dataset_missing` or `dataset_invalid`.
    """

    def __init__(self, files: FileStore) -> None:
        self.files = files
        self.card: DatasetCard = read_card(files)
        self._index = self._read_index()
        self._threads = threading.local()

    def clips(self, split: Split) -> list[ClipLocation]:
        """Return the locations of the clips of a split, in the order of their ids."""
        table = self._index.filter(pc.field("split") == split)
        names = ("clip_id", "shard", "row", "n_frames")
        return [ClipLocation(*values) for values in zip(*(table[name].to_pylist() for name in names), strict=True)]

    def load_template_arrays(self) -> dict[str, np.ndarray]:
        """Return the statistics of the motion, by the names of JoyVASA's template.

        Raises:
            InputError: `dataset_invalid`.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            return load(self.files.read(TEMPLATE))
        except (SafetensorError, FileNotFoundError, ValueError) as error:
            raise self._damaged(TEMPLATE, error) from None

    def load_template(self) -> MotionTemplate:
        """Return the statistics that normalize motion for the network.

        Raises:
            InputError: `dataset_invalid`.
        """
        try:
            template = MotionTemplate.from_arrays(self.load_template_arrays())
        except ModelError as error:
            raise self._damaged(TEMPLATE, error.sentence) from None
        if len(template.expression_mean) != 3 * self.card.keypoints:
            raise self._damaged(TEMPLATE, f"built for {len(template.expression_mean) // 3} keypoints")
        return template

    def read(self, location: ClipLocation) -> ClipRecord:
        """Read a clip.

        Raises:
            InputError: `dataset_invalid`, or an error of `ClipRecord.validate`.
        """
        path = f"{SHARDS}/{location.shard:05d}.parquet"
        try:
            clip = read_clip(self._open_shard(path), location.row, self.card.frames_per_second)
            if (clip.clip_id, clip.n_frames) != (location.clip_id, location.n_frames):
                raise ValueError(f"row {location.row} is not clip {location.clip_id} as {INDEX} says")
            if clip.motion.expression.shape[1] != self.card.keypoints:
                raise ValueError(f"{clip.motion.expression.shape[1]} keypoints in clip {location.clip_id}")
        except (pa.ArrowException, FileNotFoundError, KeyError, ValueError, TypeError, RuntimeError) as error:
            raise self._damaged(path, error) from None
        return clip.validate()

    def _open_shard(self, path: str) -> pq.ParquetFile:
        """Return an open shard of the current thread; threads do not share streams, because reading moves them."""
        shards: OrderedDict[str, Any] = self._threads.__dict__.setdefault("shards", OrderedDict())
        if path not in shards:
            shards[path] = pq.ParquetFile(self.files.open(path))
            if len(shards) > OPEN_SHARDS:
                shards.popitem(last=False)[1].close(force=True)
        shards.move_to_end(path)
        return shards[path]

    def _read_index(self) -> pa.Table:
        try:
            with self.files.open(INDEX) as stream:
                table = pq.read_table(stream)
            table = table.select(INDEX_SCHEMA.names).cast(INDEX_SCHEMA)
            _check_index(table, self.card)
        except (pa.ArrowException, FileNotFoundError, KeyError, ValueError) as error:
            raise self._damaged(INDEX, error) from None
        return table

    def _damaged(self, path: str, error: BaseException | str) -> InputError:
        return damaged_dataset_error(self.files.location(path), error)


def _check_index(table: pa.Table, card: DatasetCard) -> None:
    """Check that an index is complete and has the clips that a card counts; raises ValueError."""
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count or (pa.types.is_integer(column.type) and pc.any(pc.less(column, 0)).as_py()):
            raise ValueError(f"{name} is missing or negative in some rows")
    totals = table.group_by("split").aggregate([("n_frames", "count"), ("n_frames", "sum")]).to_pylist()
    found = {row["split"]: (row["n_frames_count"], row["n_frames_sum"]) for row in totals}
    expected = {split: (count, card.frames.get(split)) for split, count in card.clips.items() if count}
    if found != expected:
        raise ValueError(f"clips and frames by split: {found}, {CARD} says {expected}")
    if pc.count_distinct(table["clip_id"]).as_py() != len(table):
        raise ValueError("clips occur twice")
