"""Columns of tables that hold media: binary values, or structs of `bytes` and `path` as `datasets` writes them."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.types as is_type

from joyvasa.runtime.locations import is_remote
from joyvasa.runtime.parsing import parse_json
from manifests.cells import cell_location, is_binary
from manifests.formats.block import RowFault
from manifests.problems import safe_text

MEDIA_COLUMNS = ("image", "audio", "motion", "video")
_FEATURES = {"Image": "image", "Audio": "audio", "Video": "video"}  # types of `datasets` by column of a manifest


@dataclass(frozen=True)
class MediaColumn:
    """A column of a table with media."""

    source: str  # name of the column in the table
    is_struct: bool  # whether its values are structs with the field `bytes`; otherwise they are binary
    has_path: bool  # whether the structs have the field `path`

    @classmethod
    def for_type(cls, source: str, kind: Any) -> MediaColumn:
        """Return a column with values of an Arrow type."""
        is_struct = is_type.is_struct(kind)
        return cls(source, is_struct, has_path=is_struct and kind.get_field_index("path") >= 0)

    @property
    def bytes_leaf(self) -> str:
        """Path of the binary values in a Parquet schema."""
        return f"{self.source}.bytes" if self.is_struct else self.source


@dataclass(frozen=True)
class TableColumns:
    """What the columns of a table are."""

    media: dict[str, MediaColumn]  # columns with media, by column of the manifest
    others: list[str]  # names of the columns that are read
    notes: list[str]  # sentences about columns that are used under another name, or not passed through

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns, as those of a manifest."""
        return (*self.media, *self.others)


def classify_columns(schema: pa.Schema) -> TableColumns:
    """Find the columns with media.

    A column of media whose name is no column of a manifest is used if the table has no such column, and no other column
    of that kind: a single column of pictures is `image`. The other columns of media are not passed through, because
    their bytes would be copied into the run.

    Args:
        schema: schema of the file, with the metadata of `datasets` if it wrote the file.
    """
    columns = {entry.name: entry.type for entry in schema}
    structs = {name: kind for name, kind in columns.items() if _is_media_struct(kind)}
    media = {name: name for name in MEDIA_COLUMNS if name in structs or (name in columns and is_binary(columns[name]))}

    features = _read_features(schema)
    left_out = {name for name in structs if name not in MEDIA_COLUMNS}
    left_out |= {name for name in features if name in columns and name not in MEDIA_COLUMNS and name in structs}
    notes = []
    for target in MEDIA_COLUMNS:
        found = [name for name in sorted(left_out) if features.get(name) == target]
        if target not in columns and len(found) == 1:
            media[target] = found[0]
            left_out.discard(found[0])
            notes.append(f"column {safe_text(found[0])} is used as {target}")
    for name in sorted(left_out):
        notes.append(f"column {safe_text(name)} holds media and is not passed through")

    used = {*media.values(), *left_out}
    return TableColumns(
        {target: MediaColumn.for_type(name, columns[name]) for target, name in media.items()},
        [name for name in schema.names if name not in used],
        notes,
    )


def locate_media(
    table: str, column: MediaColumn, first_row: int, has_bytes: Sequence[bool], paths: Sequence[Any], *, remote: bool
) -> tuple[list[str | None], dict[int, RowFault]]:
    """Return the locations of the media in a column, relative to the manifest, and the faults of rows.

    Args:
        table: path of the file in the folder of the manifest.
        column: column of the file.
        first_row: number of the first row in the file, counted from 1.
        has_bytes: whether each row has bytes.
        paths: path of each row; used if it has no bytes.
        remote: whether the manifest is remote, and must not name local files.
    """
    locations: list[str | None] = []
    faults: dict[int, RowFault] = {}
    for index, (is_embedded, path) in enumerate(zip(has_bytes, paths, strict=True)):
        if is_embedded:
            locations.append(cell_location(column.source, first_row + index, table))
            continue
        locations.append(path)
        if path and remote and not _stays_in_set(path):
            problem = f"{safe_text(column.source)} holds no bytes and the path of a file outside of the data set"
            faults[index] = RowFault("path_outside", f"{problem}: store the bytes in the table", path)
    return locations, faults


def _stays_in_set(path: str) -> bool:
    local = path.rpartition("::")[2]
    if is_remote(local):
        return True
    return not (local.startswith(("/", "file:", "local:")) or posixpath.normpath(local).split("/")[0] == "..")


def _is_media_struct(kind: Any) -> bool:
    if not is_type.is_struct(kind):
        return False
    fields = {entry.name: entry.type for entry in kind}
    return {*fields} <= {"bytes", "path"} and "bytes" in fields and is_binary(fields["bytes"])


def _read_features(schema: pa.Schema) -> dict[str, str]:
    """Return the column of the manifest for each column that `datasets` describes as a medium."""
    try:
        features = parse_json((schema.metadata or {})[b"huggingface"])["info"]["features"]
        kinds = {str(name): entry.get("_type") for name, entry in features.items() if isinstance(entry, dict)}
    except (LookupError, TypeError, AttributeError, ValueError):  # another writer
        return {}
    return {name: _FEATURES[kind] for name, kind in kinds.items() if isinstance(kind, str) and kind in _FEATURES}
