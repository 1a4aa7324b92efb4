"""The files of a folder, a glob or an archive, on any file system: captions next to them, and manifests of videos."""

from __future__ import annotations

import json
import os
import posixpath
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from joyvasa.runtime.locations import get_local_path, is_empty, is_http, is_remote, open_filesystem
from manifests.manifest import open_binary
from manifests.problems import ManifestError, ValueFault, safe_text
from manifests.schema import VIDEOS, parse_path
from manifests.table_files import FORMATS

# Suffix -> fsspec scheme of the members. fsspec does not recognize the compression of .tgz.
ARCHIVES = {".zip": "zip", ".tar": "tar", ".tar.gz": "tar", ".tar.bz2": "tar", ".tar.xz": "tar"}
PIECES_SUFFIX = ".pieces"  # of folders that `joyvasa pair` writes; not read as a source of recordings again
MAX_TEXT_BYTES = 1 << 20  # of a caption; the words of an hour have 60 kB
TEXT_THREADS = 8  # captions wait for disks and networks
GLOB = re.compile(r"[*?\[]")


class FileTree:
    """The files of a source, found when the object is created; the memory grows with their number.

    Args:
        source: folder, glob, archive or single file; a path or an fsspec URI. A folder is searched recursively, except
            for hidden files, hidden folders and folders of pieces.

    Attributes:
        names: sorted paths on the file system of the source.
        chosen: whether the user chose the files by their names: by a glob, or one file.

    Raises:
        ManifestError: `manifest_missing` or `manifest_unreadable`.
    """

    def __init__(self, source: str) -> None:
        self._uri, self._archive = _resolve_archive(source)
        self._root = ""  # folder that `relative_path` starts from
        self.chosen = False
        self._texts: dict[str, str] = {}  # paths of text files, by path without suffix
        shown = safe_text(source, 200)
        if is_empty(source):
            raise ManifestError("manifest_missing", f"media: found {source!r}; expected a path or URI: name a folder")
        try:
            self._fs: Any
            self._fs, path = open_filesystem(self._uri)
            self.names = sorted(self._find(path.rstrip("/") or path if not self._archive else path))
        except FileNotFoundError:
            raise ManifestError("manifest_missing", f"{shown}: no such file or folder: check the path") from None
        except Exception as error:  # archives and object stores have error classes of their own
            reason = safe_text(str(error) or type(error).__name__, 200)
            raise ManifestError("manifest_unreadable", f"{shown}: cannot be read ({reason}): check it") from None

    def relative_path(self, name: str) -> str:
        """Return the path of a file below the folder, in the archive, or below the fixed part of the glob."""
        return name.removeprefix(self._root).lstrip("/").removeprefix("./")

    def location(self, name: str) -> str:
        """Return the absolute path or the URI of a file."""
        if self._archive:
            return f"{self._uri.partition('://')[0]}://{name}{self._archive}"
        return self._fs.unstrip_protocol(name) if is_remote(self._uri) else name

    def is_usable(self, name: str) -> bool:
        """Return whether a manifest can name a file: no control characters, and no path that fsspec would change."""
        try:
            parse_path(self.location(name))
        except ValueFault:
            return False
        return not self._archive or not ("::" in name or name.startswith("/"))

    def read_texts(self, names: Sequence[str]) -> list[str | None]:
        """Return the content of the `.txt` file with the same stem next to each file, None if there is none.

        Raises:
            ManifestError: `text_too_long`, `text_not_utf8`, or see `open_binary`.
        """
        texts = [self._texts.get(posixpath.splitext(name)[0]) for name in names]
        if self._archive or not any(texts):  # the reader of an archive has one position
            return [*map(self._read_text, texts)]
        with ThreadPoolExecutor(TEXT_THREADS, thread_name_prefix="captions") as pool:
            return [*pool.map(self._read_text, texts)]

    def _find(self, path: str) -> list[str]:
        if not path or self._fs.isdir(path):
            self._root = path
            entries = self._fs.find(path, detail=True)
            names = [name for name in entries if self._is_visible(name)]
            self._add_texts(entries[name] for name in names)
            return names

        self.chosen = True
        magic = GLOB.search(path)
        if magic and not self._fs.exists(path):
            self._root = posixpath.dirname(path[: magic.start()])
            names = [name for name in self._fs.glob(path) if not self._fs.isdir(name)]
        else:
            self._fs.info(path)
            self._root = posixpath.dirname(path)
            names = [path]
        if not is_http(self._uri):  # servers list no folders
            for folder in sorted({posixpath.dirname(name) for name in names}):
                self._add_texts(self._fs.ls(folder, detail=True))
        return names

    def _is_visible(self, name: str) -> bool:
        parts = self.relative_path(name).split("/")
        return not any(part.startswith(".") or part.endswith(PIECES_SUFFIX) for part in parts)

    def _add_texts(self, entries: Iterable[dict[str, Any]]) -> None:
        for entry in entries:
            stem, suffix = posixpath.splitext(entry["name"])
            if suffix.lower() == ".txt" and entry["type"] != "directory":
                self._texts[stem] = entry["name"]

    def _read_text(self, name: str | None) -> str | None:
        if name is None:
            return None
        shown = safe_text(name, 200)
        with self._fs.open(name, "rb") if self._archive else open_binary(self.location(name)) as file:
            content = file.read(MAX_TEXT_BYTES + 1)
        if len(content) > MAX_TEXT_BYTES:
            sentence = f"{shown}: more than {MAX_TEXT_BYTES:,} bytes; expected the words of a recording"
            raise ManifestError("text_too_long", f"{sentence}: rename the file if it is something else")
        try:
            return content.decode("utf-8-sig").strip() or None
        except UnicodeDecodeError as error:
            sentence = f"{shown}: not UTF-8 (byte {error.start + 1}); expected the words of a recording"
            raise ManifestError("text_not_utf8", f"{sentence}: save it as UTF-8") from None


def find_videos(videos: str) -> dict[str, str] | None:
    """Return video files in order: their locations, by their paths in the source; None if it is a manifest.

    Args:
        videos: folder, of which the files with suffixes of videos are found, glob, file, or manifest; see `FileTree`.

    Raises:
        ManifestError: `manifest_missing` or `manifest_unreadable`.
    """
    suffix = posixpath.splitext(videos)[1].lower()
    if suffix in FORMATS:
        return None
    is_named = suffix in VIDEOS or GLOB.search(videos)
    try:
        tree = FileTree(videos)
    except ManifestError:
        if is_named:
            raise
        return None
    names = [name for name in tree.names if tree.chosen or posixpath.splitext(name)[1].lower() in VIDEOS]
    return {tree.relative_path(name): tree.location(name) for name in names} if names or is_named else None


def build_video_manifest(videos: str) -> bytes | None:
    """Return a manifest of video files in JSON Lines, or None if the argument is a manifest.

    Record ids are paths relative to the common parent folder.

    Raises:
        ManifestError: `manifest_missing` if there are no videos, or `manifest_unreadable`.
    """
    found = find_videos(videos)
    if found is None:
        return None
    if not found:
        shown = safe_text(videos, 200)
        raise ManifestError("manifest_missing", f"{shown}: no video found; expected a folder, a glob or a manifest")
    common = posixpath.commonpath([posixpath.dirname(path) for path in found])
    rows = [{"record_id": posixpath.relpath(path, common), "video": location} for path, location in found.items()]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _resolve_archive(source: str) -> tuple[str, str]:
    """Return the URI of a source with absolute paths, and the end of the URIs of its members if it is an archive."""
    head, chained, archive = source.partition("::")
    if not (chained and is_remote(head)):  # `::` may occur in a local name
        scheme = next((scheme for suffix, scheme in ARCHIVES.items() if source.lower().endswith(suffix)), None)
        if not scheme or "::" in source:
            return (source, "") if is_remote(source) else (_absolute_path(source), "")
        head, archive = f"{scheme}://", source
    end = f"::{archive if is_remote(archive) else _absolute_path(archive)}"
    return head + end, end


def _absolute_path(path: str) -> str:
    return os.path.abspath(os.path.expanduser(get_local_path(path)))
