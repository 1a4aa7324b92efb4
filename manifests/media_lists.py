"""Lists of portraits or recordings: the files of a folder, a glob or an archive, or the rows of a table."""

from __future__ import annotations

import hashlib
import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from joyvasa.runtime.locations import is_remote
from manifests.file_tree import ARCHIVES, FileTree
from manifests.manifest import open_manifest, resolve_location
from manifests.problems import ManifestError, safe_text
from manifests.record import HASH_CHARACTERS
from manifests.run.manifest_file import RECORD_FIELDS
from manifests.scan import Scan
from manifests.schema import IMAGES, MANIFEST_COLUMNS, SOUNDS, VIDEOS
from manifests.table_files import FORMATS

Kind = Literal["image", "audio"]

SUFFIXES: Mapping[Kind, frozenset[str]] = {
    "image": IMAGES,
    "audio": SOUNDS,
}
NOUNS: Mapping[Kind, str] = {"image": "picture", "audio": "sound file"}
# Standard columns of a table that are passed through, with their types; the others are those of pairs.
PASSED_COLUMNS = {
    field.name: field.type
    for field in RECORD_FIELDS
    if field.name not in ("record_id", "image", "audio", "video", "row")
}
NAME_CHARACTERS = 44  # two names, a number and a separator are an id that is safe as a file name


@dataclass(frozen=True)
class MediaList:
    """The portraits or recordings of one side of a list of pairs."""

    kind: Kind  # `image` or `audio`
    source: str  # folder, glob, archive or table as given by the user
    locations: list[str]  # distinct absolute local paths or URIs
    names: list[str]  # unique readable names, parts of record ids
    folders: list[str]  # names of the folders that hold the files
    stems: list[str]  # names of the files without suffix
    columns: pa.Table  # passed-through columns
    notes: tuple[str, ...] = ()  # sentences about what was left out

    def __len__(self) -> int:
        return len(self.locations)

    def take(self, indices: Sequence[int]) -> MediaList:
        """Return a list with the entries at these indices."""
        fields = ("locations", "names", "folders", "stems")
        lists = {name: [getattr(self, name)[index] for index in indices] for name in fields}
        return replace(self, columns=take_rows(self.columns, indices), **lists)

    def get_keys(self, column: str) -> pa.Array | None:
        """Return the values of a column as text, null where empty; None if there is no such column.

        Unless the list has columns of these names, `folder` is the name of the folder that holds the file, and `stem`
        the name of the file without suffix.
        """
        if column in self.columns.column_names:
            values = self.columns.column(column)
            try:
                keys = values.cast(pa.string()).to_pylist()
            except pa.ArrowException:
                keys = [None if value is None else str(value) for value in values.to_pylist()]
        elif column in ("folder", "stem"):
            keys = self.folders if column == "folder" else self.stems
        else:
            return None
        return pa.array([key or None for key in keys], pa.string())


def open_media_list(source: str, kind: Kind) -> MediaList:
    """List portraits or recordings.

    Args:
        source: folder, glob, archive, file or table; a path or an fsspec URI. A folder without media may hold tables.
        kind: `image` or `audio`.

    Raises:
        ManifestError: see `list_media_files` and `_read_media_table`.
    """
    if posixpath.splitext(source)[1].lower() in {*FORMATS} - {*ARCHIVES}:
        return _read_media_table(source, kind)
    try:
        return list_media_files(source, kind)
    except ManifestError as error:
        if error.code != "media_none":
            raise
        try:
            open_manifest(source)
        except ManifestError:
            raise error from None
    return _read_media_table(source, kind)


def list_media_files(source: str, kind: Kind) -> MediaList:
    """List the files whose suffix is that of pictures or of sounds, sorted by path.

    A text file next to a sound, with the same stem, becomes the value of the column `text`. A glob may also match
    videos, whose sound is used.

    Args:
        source: folder, glob, archive or file, see `FileTree`.
        kind: `image` or `audio`.

    Raises:
        ManifestError: `manifest_missing`, `manifest_unreadable`, `media_none`, `text_too_long` or `text_not_utf8`.
    """
    tree = FileTree(source)
    suffixes = SUFFIXES[kind] | (VIDEOS if kind == "audio" and tree.chosen else frozenset())
    names = [name for name in tree.names if posixpath.splitext(name)[1].lower() in suffixes]
    usable = [name for name in names if tree.is_usable(name)]
    if not usable:
        expected = f"a folder, a glob, an archive ({', '.join(ARCHIVES)}) or a table with the column {kind}"
        sentence = f"{safe_text(source, 200)}: no {NOUNS[kind]} found; expected {expected}: check the path"
        raise ManifestError("media_none", sentence)

    notes = []
    if unusable := set(names).difference(usable):
        example = safe_text(min(unusable))
        notes.append(f"left out files with names that a manifest cannot hold: {len(unusable):,}, for example {example}")
    texts = tree.read_texts(usable) if kind == "audio" else []
    columns = pa.table({"text": pa.array(texts, pa.string())}) if any(texts) else pa.table({})
    paths = [tree.relative_path(name) for name in usable]
    labels = [posixpath.splitext(path)[0] for path in paths]
    return _build_list(kind, source, [*map(tree.location, usable)], labels, paths, columns, notes)


def _read_media_table(source: str, kind: Kind) -> MediaList:
    """Read the rows of a table with a path in the column `image` or `audio`.

    The other columns are passed through, also `mode`, `seed`, `cfg_scale`, `priority` and `motion`. Names are derived
    from `record_id` if the row has one.
    """
    manifest = replace(open_manifest(source), required=kind)
    scan = Scan(manifest)
    values: dict[str, list[Any]] = {name: [] for name in (kind, "record_id", *PASSED_COLUMNS)}
    parsers = {column.name: column.parse for column in MANIFEST_COLUMNS}
    extra = []
    for scanned in scan.blocks(extra=True):
        for problem in scanned.problems:  # rows of one side may repeat, because names are made unique
            if problem.column in {"", *values} and not problem.code.startswith("duplicate_"):
                raise ManifestError(problem.code, f"{problem.place}: {problem.text}")
        for name, column in values.items():
            raw = scanned.block.columns.get(name) or [None] * len(scanned.block)
            column += [None if value in (None, "") else parsers[name](value) for value in raw]
        extra.append(scanned.block.extra)

    paths = values[kind]
    if None in paths:
        sentence = f"{safe_text(source, 200)}: {kind} is empty in row {paths.index(None) + 1}; expected a path or URI"
        raise ManifestError("missing_value", f"{sentence}: fill or remove the row")
    locations = [resolve_location(manifest.folder, path) for path in paths]
    values["motion"] = [path and resolve_location(manifest.folder, path) for path in values["motion"]]
    labels = [record_id or _label_path(path) for record_id, path in zip(values["record_id"], paths, strict=True)]

    table = pa.concat_tables(extra) if extra[0].num_columns else pa.table({})
    for name, column_type in PASSED_COLUMNS.items():
        if any(value is not None for value in values[name]):
            column = pa.array(values[name], column_type)
            table = table.append_column(name, column) if table.num_columns else pa.table({name: column})
    return _build_list(kind, source, locations, labels, paths, table, scan.summary.notes)


def take_rows(table: pa.Table, indices: Sequence[int] | np.ndarray) -> pa.Table:
    """Return rows of a table, which may have no columns."""
    return table.take(pa.array(indices, pa.int64())) if table.num_columns else table


def _build_list(
    kind: Kind,
    source: str,
    locations: list[str],
    labels: Sequence[str],
    paths: Sequence[str],
    columns: pa.Table,
    notes: Iterable[str],
) -> MediaList:
    """Build a list without entries whose location occurs before.

    Args:
        kind: `image` or `audio`.
        source: source as given by the user.
        locations: absolute local paths or URIs.
        labels: ids, or paths without suffix; names are derived from them.
        paths: paths in the source, which distinguish entries with equal labels.
        columns: passed-through columns.
        notes: sentences about what was left out.
    """
    rows = sorted({location: row for row, location in reversed([*enumerate(locations)])}.values())
    if repeated := len(locations) - len(rows):
        notes = [*notes, f"left out rows with the {kind} of an earlier row: {repeated:,}"]
        columns = take_rows(columns, rows)
        locations, labels, paths = ([values[row] for row in rows] for values in (locations, labels, paths))

    inner = [location.partition("::")[0] if is_remote(location) else location for location in locations]
    return MediaList(
        kind=kind,
        source=source,
        locations=locations,
        names=_choose_names(kind, labels, paths),
        folders=[posixpath.basename(posixpath.dirname(path)) for path in inner],
        stems=[posixpath.splitext(posixpath.basename(path))[0] for path in inner],
        columns=columns.combine_chunks(),
        notes=tuple(notes),
    )


def _label_path(path: str) -> str:
    """Return the part of a path in a table that names are derived from."""
    stem = posixpath.splitext(path)[0]
    return posixpath.join(*stem.split("/")[-2:]) if is_remote(path) or path.startswith("/") else stem


def _choose_names(kind: Kind, labels: Sequence[str], paths: Sequence[str]) -> list[str]:
    """Return a unique name of `a-z 0-9 _ -` for each label; equal and long names get a dot and a hash of the path."""
    slugs = [_slug(label) for label in labels]
    counts = Counter(slugs)
    return [
        slug if slug and len(slug) <= NAME_CHARACTERS and counts[slug] == 1 else _hashed_name(slug or kind, path)
        for slug, path in zip(slugs, paths, strict=True)
    ]


def _hashed_name(slug: str, path: str) -> str:
    digest = hashlib.blake2b(path.encode(), digest_size=HASH_CHARACTERS // 2).hexdigest()
    return f"{slug[HASH_CHARACTERS + 1 - NAME_CHARACTERS :].strip('_-')}.{digest}"


def _slug(text: str) -> str:
    characters = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"--+", "-", re.sub(r"[^a-z0-9-]+", "_", characters)).strip("_-")
