"""Reading of clips from a shard, even if the data set is not finished."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from joyvasa.runtime.parsing import parse_json
from joyvasa.training.clips import ClipRecord, motion_from_arrays
from joyvasa.training.dataset_files import NUMBERS, SCHEMA, damaged_dataset_error
from joyvasa.training.file_store import FileStore


def read_shard_clips(files: FileStore, path: str, *, only: frozenset[str]) -> Iterator[ClipRecord]:
    """Yield clips of a shard in order; only one is in memory at a time.

    Raises:
        FileNotFoundError: the shard does not exist.
        InputError: `dataset_invalid`.
    """
    with files.open(path) as stream:
        try:
            shard = pq.ParquetFile(stream)
            metadata = shard.metadata.metadata or {}
            rate = parse_json(metadata[b"joyvasa.format"])[2]
            for number, clip in enumerate(parse_json(metadata[b"joyvasa.clips"])):
                if clip["clip_id"] in only:
                    yield read_clip(shard, number, rate)
        except (pa.ArrowException, KeyError, ValueError, TypeError) as error:
            raise damaged_dataset_error(files.location(path), error) from None


def read_clip(shard: pq.ParquetFile, row: int, frames_per_second: float) -> ClipRecord:
    """Read a clip of an open shard without validating it.

    Raises:
        ArrowException, KeyError, ValueError, TypeError, RuntimeError: the row is damaged.
    """
    table = shard.read_row_group(row).select(SCHEMA.names).cast(SCHEMA).combine_chunks()
    if missing := [name for name in SCHEMA.names if table[name].null_count and name not in NUMBERS[6:]]:
        raise ValueError(f"{missing[0]} is missing in row {row}")
    values = table.select(["clip_id", "source", "split", "n_frames", "start_s", "sound"]).to_pylist()[0]
    motion = {name: _numbers(table[name]) for name in NUMBERS[:6]}
    ratios = {name: _numbers(table[name]) for name in NUMBERS[6:] if table[name].null_count == 0}
    return ClipRecord(
        clip_id=values["clip_id"],
        source=values["source"],
        split=values["split"],
        start_s=values["start_s"],
        motion=motion_from_arrays(motion, values["n_frames"], frames_per_second),
        sound=np.frombuffer(values["sound"], "<i2").astype(np.int16, copy=False),
        **{name: ratio.reshape(values["n_frames"], -1) for name, ratio in ratios.items()},
    )


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """Return the numbers of a column of lists as one writable array."""
    parts = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.concatenate([*parts, np.zeros(0, np.float32)]).astype(np.float32, copy=False)
