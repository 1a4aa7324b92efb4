"""Clips out of one shard, whether or not its data set is finished."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from joyvasa.errors import InputError
from joyvasa.training.clips import ClipRecord, motion_from_arrays
from joyvasa.training.dataset_files import NUMBERS
from joyvasa.training.file_store import FileStore


def read_shard_clips(files: FileStore, path: str, *, only: frozenset[str]) -> Iterator[ClipRecord]:
    """The clips of a shard in order, one in memory at a time.

    Args:
        files: where it lies.
        path: of the shard.
        only: ids of the clips that are wanted; no other ones are read.

    Raises:
        FileNotFoundError: it is not there.
        InputError: `dataset_invalid`.
    """
    with files.open(path) as stream:
        try:
            shard = pq.ParquetFile(stream)
            told = shard.metadata.metadata or {}
            rate = json.loads(told[b"joyvasa.format"])[2]
            for number, clip in enumerate(json.loads(told[b"joyvasa.clips"])):
                if clip["clip_id"] in only:
                    yield read_clip(shard, number, rate)
        except (pa.ArrowException, KeyError, ValueError, TypeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
            where = files.location(path)
            raise InputError(
                "dataset_invalid", f"{where}: not part of a data set ({reason}): prepare it again"
            ) from None


def read_clip(shard: pq.ParquetFile, row: int, frames_per_second: float) -> ClipRecord:
    """One clip of an open shard, not checked.

    Args:
        shard: of `DatasetWriter.write_shard`.
        row: of the clip, which is a row group of its own.
        frames_per_second: of its motion.

    Raises:
        ArrowException, KeyError, ValueError, TypeError, RuntimeError: the row is damaged.
    """
    table = shard.read_row_group(row).combine_chunks()
    told = table.select(["clip_id", "source", "split", "n_frames", "start_s", "sound"]).to_pylist()[0]
    motion = {name: _numbers(table[name]) for name in NUMBERS[:6]}
    ratios = {name: _numbers(table[name]) for name in NUMBERS[6:] if table[name].null_count == 0}
    return ClipRecord(
        clip_id=told["clip_id"],
        source=told["source"],
        split=told["split"],
        start_s=told["start_s"],
        motion=motion_from_arrays(motion, told["n_frames"], frames_per_second),
        sound=np.frombuffer(told["sound"], "<i2").astype(np.int16, copy=False),
        **{name: values.reshape(told["n_frames"], -1) for name, values in ratios.items()},
    )


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """The numbers of a column of lists, all in one array that may be written to."""
    parts = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.concatenate([*parts, np.zeros(0, np.float32)]).astype(np.float32, copy=False)
