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
from joyvasa.training.files import Files


def shard_clips(files: Files, path: str, *, only: frozenset[str]) -> Iterator[ClipRecord]:
    """The clips of a shard in order, one in memory at a time.

    Args:
        files: where it lies.
        path: of the shard.
        only: ids of the clips that are wanted.

    Raises:
        FileNotFoundError: it is not there.
        InputError: `dataset_invalid`.
    """
    with files.open(path) as stream:
        try:
            shard = pq.ParquetFile(stream)
            rate = json.loads((shard.metadata.metadata or {})[b"joyvasa.format"])[2]
            for number in range(shard.num_row_groups):
                row = shard.read_row_group(number).to_pylist()[0]
                if row["clip_id"] not in only:
                    continue
                numbers = {
                    name: np.array(row[name], np.float32).reshape(row["n_frames"], -1)
                    for name in NUMBERS
                    if row[name] is not None
                }
                yield ClipRecord(
                    **{name: row[name] for name in ("clip_id", "source", "split", "start_s")},
                    motion=motion_from_arrays({name: numbers[name] for name in NUMBERS[:6]}, row["n_frames"], rate),
                    sound=np.frombuffer(row["sound"], "<i2").astype(np.int16),
                    eye_ratio=numbers.get("eye_ratio"),
                    lip_ratio=numbers.get("lip_ratio"),
                )
        except (pa.ArrowException, KeyError, ValueError, TypeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
            where = files.location(path)
            raise InputError(
                "dataset_invalid", f"{where}: not part of a data set ({reason}): prepare it again"
            ) from None
