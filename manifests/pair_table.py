"""Write pairs of portraits and recordings as a manifest in Parquet, block by block."""

from __future__ import annotations

import os
import posixpath
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from joyvasa.runtime.locations import get_local_path, is_remote, is_same_file
from manifests.media_lists import PASSED_COLUMNS, MediaList, take_rows
from manifests.option_columns import Variation
from manifests.pairing import PairPlan
from manifests.problems import ManifestError, safe_text
from manifests.storage import Storage, open_storage

pc: Any = pyarrow.compute  # defines its functions dynamically, which type checkers do not see

ROW_GROUP = 1 << 16  # rows; some MB of paths
RESERVED_COLUMNS = ("record_id", "image", "audio", "video")
SEPARATOR = "--"  # between the names of a portrait and a recording, which have no two hyphens


@dataclass(frozen=True)
class Usage:
    """How often the entries of a list occur in the pairs."""

    entries: int  # number of portraits or recordings of the list
    used: int  # number of those that occur
    # fewest, most: smallest and largest number of pairs of one of those that occur
    fewest: int
    most: int


@dataclass(frozen=True)
class PairSummary:
    """Result of `write_pairs`."""

    pairs: int
    images: Usage
    audio: Usage


def open_output(output: str, inputs: list[str]) -> tuple[Storage, str]:
    """Return the storage and the name of a table to write.

    Args:
        output: path or URI of a Parquet file.
        inputs: sources, which must not be replaced.

    Raises:
        ManifestError: `output_format`, `output_is_input`, or see `open_storage`.
    """
    shown = safe_text(output, 200)
    if posixpath.splitext(output)[1].lower() != ".parquet":
        raise ManifestError("output_format", f"{shown}: expected a name that ends in .parquet: rename it")
    location = output if is_remote(output) else os.path.abspath(os.path.expanduser(get_local_path(output)))
    for source in inputs:
        if is_same_file(location, source):
            sentence = f"{shown}: the same file as the input {safe_text(source, 200)}; expected a new file: rename it"
            raise ManifestError("output_is_input", sentence)
    folder, _, name = location.rpartition("/")
    storage = open_storage(folder or "/")
    storage.require_writable(name)
    return storage, name


def write_pairs(
    plan: PairPlan,
    images: MediaList,
    audio: MediaList,
    storage: Storage,
    name: str,
    *,
    variations: Sequence[Variation] = (),
    on_progress: Callable[[int], None] | None = None,
) -> PairSummary:
    """Write the pairs of a plan, with the columns of both lists.

    Local paths below the folder of the table are written relative to it, others absolute. A column that both lists have
    gets the prefix `image_` or `audio_`, and so does one with the name of a column of pairs. Exceptions: `text` is
    always that of recordings, and options of a row, such as `mode`, are those of portraits if both lists have them. The
    table is visible when it is complete.

    Raises:
        ManifestError: `output_unwritable`.
    """
    sides = [_side_table(media, other, storage) for media, other in ((images, audio), (audio, images))]
    names = [pa.array(media.names, pa.string()) for media in (images, audio)]
    schema = _join_schemas(sides, variations)
    counts = [np.zeros(len(media), np.int64) for media in (images, audio)]

    with storage.staging(name) as staged, pq.ParquetWriter(staged, schema, compression="zstd") as writer:
        for start in range(0, len(plan), ROW_GROUP):
            indices = plan.compute_pairs(start, start + ROW_GROUP)
            ids = pc.binary_join_element_wise(
                *(texts.take(pa.array(rows)) for texts, rows in zip(names, indices, strict=True)), SEPARATOR
            )
            columns = {"record_id": ids}
            if variations:
                columns |= {variation.name: variation.draw(ids.to_pylist()) for variation in variations}
            for side, rows, count in zip(sides, indices, counts, strict=True):
                columns |= zip(side.column_names, take_rows(side, rows).columns, strict=True)
                count += np.bincount(rows, minlength=len(count))
            writer.write_table(pa.table([columns[field.name] for field in schema], schema))
            if on_progress:
                on_progress(start + len(ids))
    return PairSummary(len(plan), *map(_count_usage, counts))


def _side_table(media: MediaList, other: MediaList, storage: Storage) -> pa.Table:
    """Return path and passed-through columns of one side, with the names that they have in the pairs."""
    taken = {*RESERVED_COLUMNS, *other.columns.column_names}
    taken = (taken | {"text"}) - PASSED_COLUMNS.keys() if media.kind == "image" else taken - {"text"}
    names = [f"{media.kind}_{name}" if name in taken else name for name in media.columns.column_names]
    paths = pa.array([get_written_path(location, storage) for location in media.locations], pa.string())
    table = pa.table({media.kind: paths})
    for name, column in zip(names, media.columns.columns, strict=True):
        table = table.append_column(media.columns.schema.field(len(table.column_names) - 1).with_name(name), column)
    return table.combine_chunks()


def _join_schemas(sides: Sequence[pa.Table], variations: Sequence[Variation]) -> pa.Schema:
    """Return the schema of the pairs: id, both paths, passed-through columns, drawn options.

    Raises:
        ManifestError: `manifest_columns`.
    """
    fields = [pa.field("record_id", pa.string()), *(side.schema.field(0) for side in sides)]
    fields += [side.schema.field(index) for side in sides for index in range(1, side.num_columns)]
    fields += [variation.field for variation in variations]
    counts = Counter(field.name for field in fields)
    if clashes := [safe_text(name) for name, count in counts.items() if count > 1]:
        reason = "once by its prefix image_ or audio_"
        if clashes[0] in {variation.name for variation in variations}:
            reason = "once by --vary"
        sentence = f"pairs would have the column {clashes[0]} twice, {reason}"
        raise ManifestError("manifest_columns", f"{sentence}; expected one: rename it in its table")
    return pa.schema(fields)


def get_written_path(location: str, storage: Storage) -> str:
    """Return a path relative to the folder of the table if the file is below it."""
    root = storage.root.rstrip("/") + "/"
    if not storage.local or is_remote(location) or not location.startswith(root):
        return location
    path = location.removeprefix(root)
    is_plain = not is_remote(path) and get_local_path(path) == path
    return path if is_plain else location


def _count_usage(counts: np.ndarray) -> Usage:
    used = counts[counts > 0]
    return Usage(len(counts), len(used), int(used.min()), int(used.max()))
