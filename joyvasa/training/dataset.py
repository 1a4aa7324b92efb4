"""Reads a finished data set: any clip at any time, from any number of threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from joyvasa.errors import InputError, ModelError
from joyvasa.motion.sequence import MotionTemplate
from joyvasa.training.clips import ClipRecord, Split
from joyvasa.training.dataset_files import (
    INDEX,
    INDEX_SCHEMA,
    SHARDS,
    TEMPLATE,
    DatasetCard,
    read_card,
)
from joyvasa.training.file_store import FileStore
from joyvasa.training.shard_reader import read_clip

OPEN_SHARDS = 32  # of each thread


@dataclass(frozen=True)
class ClipLocation:
    """Where a clip lies.

    Args:
        clip_id: its name.
        shard: number of its shard.
        row: in the shard.
        n_frames: of its motion.
    """

    clip_id: str
    shard: int
    row: int
    n_frames: int


class Dataset:
    """A finished data set; holds its index and nothing else.

    Args:
        files: where it lies.

    Raises:
        InputError: `dataset_missing` or `dataset_invalid`.
    """

    def __init__(self, files: FileStore) -> None:
        self.files = files
        self.card: DatasetCard = read_card(files)
        self._index = self._read_index()
        self._threads = threading.local()

    def clips(self, split: Split) -> list[ClipLocation]:
        """The clips of a split, in the order of their ids."""
        table = self._index.filter(pc.field("split") == split)
        names = ("clip_id", "shard", "row", "n_frames")
        return [ClipLocation(*values) for values in zip(*(table[name].to_pylist() for name in names), strict=True)]

    def template_arrays(self) -> dict[str, np.ndarray]:
        """Statistics of the motion by the names of JoyVASA's template.

        Raises:
            InputError: `dataset_invalid`.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            return load(self.files.read(TEMPLATE))
        except (SafetensorError, FileNotFoundError, ValueError) as error:
            raise self._damaged(TEMPLATE, error) from None

    def template(self) -> MotionTemplate:
        """Statistics that scale motion for the network.

        Raises:
            InputError: `dataset_invalid`.
        """
        try:
            template = MotionTemplate.from_arrays(self.template_arrays())
        except ModelError as error:
            raise self._damaged(TEMPLATE, error.sentence) from None
        if len(template.expression_mean) != 3 * self.card.keypoints:
            raise self._damaged(TEMPLATE, f"made for {len(template.expression_mean) // 3} keypoints")
        return template

    def read(self, place: ClipLocation) -> ClipRecord:
        """One clip.

        Args:
            place: of `clips`.

        Raises:
            InputError: `dataset_invalid`, or what is wrong with the clip, see `ClipRecord.checked`.
        """
        path = f"{SHARDS}/{place.shard:05d}.parquet"
        try:
            clip = read_clip(self._shard(path), place.row, self.card.frames_per_second)
            if (clip.clip_id, clip.n_frames) != (place.clip_id, place.n_frames):
                raise ValueError(f"row {place.row} is not clip {place.clip_id} as {INDEX} says")
            if clip.motion.expression.shape[1] != self.card.keypoints:
                raise ValueError(f"{clip.motion.expression.shape[1]} keypoints in clip {place.clip_id}")
        except (pa.ArrowException, FileNotFoundError, KeyError, ValueError, TypeError, RuntimeError) as error:
            raise self._damaged(path, error) from None
        return clip.checked()

    def _shard(self, path: str) -> Any:
        """An open shard of this thread; streams are not shared, as reading moves their position."""
        opened: OrderedDict[str, Any] = self._threads.__dict__.setdefault("opened", OrderedDict())
        if path not in opened:
            opened[path] = pq.ParquetFile(self.files.open(path))
            if len(opened) > OPEN_SHARDS:
                opened.popitem(last=False)[1].close(force=True)
        opened.move_to_end(path)
        return opened[path]

    def _read_index(self) -> pa.Table:
        try:
            with self.files.open(INDEX) as stream:
                table = pq.read_table(stream)
            table = table.select(INDEX_SCHEMA.names).cast(INDEX_SCHEMA)
        except (pa.ArrowException, FileNotFoundError, KeyError, ValueError) as error:
            raise self._damaged(INDEX, error) from None
        if len(table) != sum(self.card.clips.values()):
            raise self._damaged(INDEX, f"{len(table)} clips, dataset.yaml says {sum(self.card.clips.values())}")
        return table

    def _damaged(self, path: str, error: BaseException | str) -> InputError:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        where = self.files.location(path)
        return InputError("dataset_invalid", f"{where}: not what a data set holds ({reason}): prepare it again")
