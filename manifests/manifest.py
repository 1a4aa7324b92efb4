"""Open a manifest: one table file or a folder of table files, on any file system."""

from __future__ import annotations

import io
import os
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

import pyarrow as pa
from fsspec.core import url_to_fs

from manifests.errors import ManifestError
from manifests.formats.block import Reader
from manifests.formats.csv_format import CsvReader
from manifests.formats.jsonl_format import JsonLinesReader
from manifests.formats.parquet_format import ParquetReader
from manifests.problems import safe_text

FORMATS = {".parquet": "parquet", ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
READ_BYTES = 1 << 20  # size of one read from a file or an object store

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True)
class Manifest:
    """The files of a manifest, and the folder that paths in its rows are relative to."""

    uri: str  # path or URI as given by the user
    location: str  # absolute path or URI
    folder: str  # local path or URI, without a trailing slash
    files: tuple[str, ...]  # names in `folder`, sorted
    format: str  # parquet, csv, tsv or jsonl

    def open_reader(self, file: str) -> Reader:
        """Return a reader for one of the files.

        Raises:
            ManifestError: `manifest_missing`, `manifest_unreadable`, `manifest_encoding`, `manifest_columns`
                or `manifest_empty`.
        """

        def open_file() -> BinaryIO:
            return open_binary(resolve_location(self.folder, file))

        name = safe_text(file)
        if self.format == "parquet":
            return ParquetReader(name, open_file)
        if self.format == "jsonl":
            return JsonLinesReader(name, open_file)
        return CsvReader(name, open_file, delimiter="\t" if self.format == "tsv" else ",")


def open_manifest(uri: str | os.PathLike[str]) -> Manifest:
    """Find the file or files of a manifest.

    A folder stands for all its table files, which must have one format. Files whose names start with `_` or `.` are
    skipped, because table writers use them for metadata. Access to object stores is configured as for fsspec: with its
    configuration files and environment variables.

    Args:
        uri: local path or fsspec URI.

    Raises:
        ManifestError: `manifest_missing`, `manifest_unreadable` or `manifest_format`.
    """
    text = os.fspath(uri)
    path = text if is_remote(text) else os.path.abspath(_local_path(text))
    shown = safe_text(text, 200)
    try:
        fs, inner = url_to_fs(path)
        if fs.isdir(inner):
            names = sorted(posixpath.basename(name.rstrip("/")) for name in fs.ls(inner, detail=False))
            files = tuple(name for name in names if _format(name) and name[0] not in "_.")
            if len({_format(name) for name in files}) != 1:
                sentence = f"{shown}: is a folder with {len(files)} table files; expected files of one format in it"
                raise ManifestError("manifest_format", sentence)
            return Manifest(text, path, path.rstrip("/"), files, _format(files[0]))
        if not fs.exists(inner):
            raise ManifestError("manifest_missing", f"{shown}: no such file: check the path")
    except ManifestError:
        raise
    except Exception as error:  # object stores have error classes of their own
        raise _unreadable(shown, error) from None

    folder, _, name = path.rpartition("/")
    if not _format(name):
        sentence = f"{shown}: unknown file format; expected one of {', '.join(FORMATS)}: rename it"
        raise ManifestError("manifest_format", sentence)
    return Manifest(text, path, folder, (name,), _format(name))


def open_readers(manifest: Manifest) -> Iterator[tuple[str, Reader]]:
    """Yield the name and the reader of each file, in order."""
    for file in manifest.files:
        yield file, manifest.open_reader(file)


def unify_extra_schemas(schemas: list[pa.Schema]) -> pa.Schema:
    """Merge the schemas of passed-through columns of several files.

    Raises:
        ManifestError: `manifest_columns` if a column has conflicting types.
    """
    try:
        return pa.unify_schemas(schemas, promote_options="default")
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0]
        sentence = f"the files of the manifest disagree about a column ({reason}): give it one type"
        raise ManifestError("manifest_columns", sentence) from None


def is_remote(path: str) -> bool:
    """Return whether a path is a URI that does not refer to a local file."""
    return bool(_SCHEME.match(path)) and not path.startswith(("file://", "local://"))


def resolve_location(folder: str, path: str) -> str:
    """Resolve a path relative to a folder, including `..` and `.`; absolute paths and URIs do not use the folder."""
    if is_remote(path):
        return path
    path = _local_path(path)
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
            return open(path, "rb", buffering=READ_BYTES)
        fs, inner = url_to_fs(path)
        file = cast(io.RawIOBase, fs.open(inner, "rb"))
        return cast(BinaryIO, io.BufferedReader(file, READ_BYTES))
    except FileNotFoundError:
        raise ManifestError("manifest_missing", f"{shown}: no such file: check the path") from None
    except Exception as error:  # object stores have error classes of their own
        raise _unreadable(shown, error) from None


def _local_path(path: str) -> str:
    return re.sub(r"^(file|local)://", "", path) if "://" in path else path


def _format(name: str) -> str:
    return FORMATS.get(posixpath.splitext(name)[1].lower(), "")


def _unreadable(shown: str, error: Exception) -> ManifestError:
    reason = str(error) or type(error).__name__
    return ManifestError(
        "manifest_unreadable", f"{shown}: cannot be read ({safe_text(reason, 200)}): check access to it"
    )
