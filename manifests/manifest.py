"""Open a manifest: one table file or a folder of table files, on any file system."""

from __future__ import annotations

import io
import os
import posixpath
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa

from joyvasa.errors import first_line
from joyvasa.runtime.locations import get_local_path, is_empty, is_http, is_remote, open_filesystem, split_member
from manifests.formats.arrow_format import ArrowReader
from manifests.formats.block import PartitionReader, Reader, parse_partitions
from manifests.formats.csv_format import CsvReader
from manifests.formats.json_types import JsonTypes
from manifests.formats.jsonl_format import JsonLinesReader
from manifests.formats.parquet_format import ParquetReader
from manifests.formats.webdataset_format import WebDatasetIndex, WebDatasetReader
from manifests.problems import ManifestError, safe_text
from manifests.scratch import scratch_folder
from manifests.table_files import FORMATS, find_format, find_split, find_tables

READ_BYTES = 1 << 20  # size of one read from a file or an object store


@dataclass(frozen=True)
class Manifest:
    """The files of a manifest, and the folder that paths in its rows are relative to."""

    uri: str  # path or URI as given by the user
    location: str  # absolute path or URI
    folder: str  # local path or URI, without a trailing slash
    files: tuple[str, ...]  # paths in `folder`, sorted
    format: str  # a value of `FORMATS`
    required: str | None = None  # the only standard column that its tables must have; None for those of a manifest
    _json_types: JsonTypes = field(init=False, repr=False, compare=False)  # of the columns of all JSON Lines files
    _samples: WebDatasetIndex = field(init=False, repr=False, compare=False)  # rows of all tar files

    def __post_init__(self) -> None:
        object.__setattr__(self, "_json_types", JsonTypes(safe_text(self.uri, 200)))
        object.__setattr__(self, "_samples", WebDatasetIndex())

    def open_reader(self, file: str) -> Reader:
        """Return a reader for one of the files.

        Raises:
            ManifestError: `manifest_missing`, `manifest_unreadable`, `manifest_encoding`, `manifest_columns`
                or `manifest_empty`.
        """

        def open_file() -> BinaryIO:
            return open_binary(resolve_location(self.folder, file))

        name = safe_text(file)
        reader: Reader
        if self.format == "parquet":
            reader = ParquetReader(name, open_file, file=file, remote=is_remote(self.location), required=self.required)
        elif self.format == "arrow":
            path = None if is_remote(self.location) else Path(resolve_location(self.folder, file))
            reader = ArrowReader(name, open_file, path, file=file, required=self.required)
        elif self.format == "webdataset":
            reader = WebDatasetReader(name, open_file, self._json_types, index=self._samples, file=file)
        elif self.format == "jsonl":
            reader = JsonLinesReader(name, open_file, self._json_types)
        else:
            reader = CsvReader(name, open_file, "\t" if self.format == "tsv" else ",", required=self.required)
        partitions = parse_partitions(file)
        if (split := find_split(file)) and "split" not in partitions:
            partitions = {**partitions, "split": split}
        return PartitionReader(reader, partitions) if partitions else reader


def open_manifest(uri: str | os.PathLike[str]) -> Manifest:
    """Find the file or files of a manifest.

    A folder stands for all its table files, which must have one format, and for those in subfolders named
    `column=value`, whose rows have that value. A folder that `datasets` wrote stands for its splits, see `find_tables`;
    the column `split` has their names. Names that start with `_` or `.` are skipped, because table writers use
    them for metadata. Access to object stores is configured as for fsspec: with its configuration files and environment
    variables.

    Args:
        uri: local path or fsspec URI.

    Raises:
        ManifestError: `manifest_missing`, `manifest_unreadable` or `manifest_format`.
    """
    text = os.fspath(uri)
    if is_empty(text):
        raise ManifestError("manifest_missing", f"manifest: found {text!r}; expected a path or URI: name a file")
    path = text if is_remote(text) else os.path.abspath(get_local_path(text))
    shown = safe_text(text, 200)
    try:
        fs, inner = open_filesystem(path)
        # HTTP has no folders: a table with links would look like one. Whether the file exists is seen when it is read.
        if not is_http(path):
            if fs.isdir(inner):
                files = tuple(find_tables(fs, inner.rstrip("/") or inner))
                if len({find_format(name) for name in files}) != 1:
                    sentence = f"{shown}: is a folder with {len(files)} table files; expected files of one format in it"
                    raise ManifestError("manifest_format", sentence)
                return Manifest(text, path, path.rstrip("/"), files, find_format(files[0]))
            if not fs.exists(inner):
                raise ManifestError("manifest_missing", f"{shown}: no such file: check the path")
    except ManifestError:
        raise
    except Exception as error:  # object stores have error classes of their own
        raise _unreadable(shown, error) from None

    address, mark, query = path.partition("?") if is_http(path) else (path, "", "")
    folder, _, name = address.rpartition("/")
    if not find_format(name):
        sentence = f"{shown}: unknown file format; expected one of {', '.join(FORMATS)}: rename it"
        raise ManifestError("manifest_format", sentence)
    return Manifest(text, path, folder, (name + mark + query,), find_format(name))


def open_readers(manifest: Manifest) -> Iterator[tuple[str, Reader]]:
    """Yield the name and the reader of each file, in order."""
    for file in manifest.files:
        yield file, manifest.open_reader(file)


def unify_extra_schemas(schemas: list[pa.Schema]) -> pa.Schema:
    """Merge the schemas of passed-through columns of several files; the type of a column can hold all its values.

    Raises:
        ManifestError: `manifest_columns` if a column has conflicting types.
    """
    try:
        return pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowException as error:
        reason = first_line(error)
        sentence = f"the files of the manifest disagree about a column ({reason}): give it one type"
        raise ManifestError("manifest_columns", sentence) from None


def resolve_location(folder: str, path: str) -> str:
    """Resolve a path relative to a folder, including `..` and `.`; absolute paths and URIs do not use the folder.

    The path of a member, `tar://a.png::faces.tar`, is that of its archive.
    """
    if parts := split_member(path):
        return f"{path.removesuffix(parts[2])}{resolve_location(folder, parts[2])}"
    if is_remote(path):
        return path
    path = get_local_path(path)
    if path.startswith("/"):
        return posixpath.normpath(path)
    if not is_remote(folder):
        return posixpath.normpath(f"{folder}/{path}")
    scheme, _, rest = folder.partition("://")
    return f"{scheme}://{posixpath.normpath(f'{rest}/{path}')}"


def open_binary(path: str) -> BinaryIO:
    """Open a local path or URI for reading, buffered and seekable.

    Raises:
        ManifestError: `manifest_missing` or `manifest_unreadable`.
    """
    shown = safe_text(path, 200)
    try:
        if not is_remote(path):
            if not stat.S_ISREG(os.stat(path).st_mode):  # opening a pipe would block
                problem = "is not a regular file; expected one, because it is read more than once"
                raise ManifestError("manifest_unreadable", f"{shown}: {problem}: copy its content to a file")
            return open(path, "rb", buffering=READ_BYTES)
        fs, inner = open_filesystem(path)
        if is_http(path):  # many servers cannot send parts of a file
            return _download(fs, inner)
        file = cast(io.RawIOBase, fs.open(inner, "rb"))
        return cast(BinaryIO, io.BufferedReader(file, READ_BYTES)) if file.seekable() else _download(fs, inner)
    except ManifestError:
        raise
    except FileNotFoundError:
        raise ManifestError("manifest_missing", f"{shown}: no such file: check the path") from None
    except Exception as error:  # object stores have error classes of their own
        raise _unreadable(shown, error) from None


def _download(fs: Any, path: str) -> BinaryIO:
    with scratch_folder() as folder:
        target = folder / "table"
        fs.get_file(path, str(target))
        return target.open("rb", buffering=READ_BYTES)  # the open file outlives its name


def _unreadable(shown: str, error: Exception) -> ManifestError:
    reason = str(error) or type(error).__name__
    return ManifestError(
        "manifest_unreadable", f"{shown}: cannot be read ({safe_text(reason, 200)}): check access to it"
    )
