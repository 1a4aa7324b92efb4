"""Media files of exported rows: the video, and the portrait and recording that it was made from.

Their sizes are looked up first; their content is checked when it is read.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import re
import shlex
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from joyvasa.errors import InputError
from joyvasa.runtime.locations import is_remote, open_filesystem, split_member
from manifests.problems import safe_text
from manifests.record import speech_path
from pipelines.runs.export.source import SourceRun
from stages.media import local_file, open_stream
from stages.media_cache import MediaCacheConfig

CHUNK_BYTES = 1 << 20
LOOKUP_THREADS = 16
MEDIA_KINDS = ("video", "portrait", "audio")
INPUT_COLUMNS = {"portrait": "image", "audio": "audio"}  # column of the rows by kind of media
MEDIA_COLUMNS = ("record_id", "shard", "video", "sha256", "input_video", "image", "audio")
MEDIA_COLUMNS += ("image_sha256", "audio_sha256")
_SHA256 = re.compile("[0-9a-f]{64}")
_SUFFIX = re.compile(r"\.[a-z0-9]{1,5}")


@dataclass(frozen=True)
class MediaFile:
    """A media file of a row."""

    location: str  # absolute local path or URI
    bytes: int  # size
    sha256: str | None  # expected hash of the content; None to accept any

    def read(self) -> bytes:
        """Return the content; see `chunks`."""
        return b"".join(self.chunks())

    def copy(self, target: Path) -> str:
        """Copy the content to a local file and return its SHA-256; see `chunks`."""
        digest = hashlib.sha256()
        with target.open("wb") as file:
            for chunk in self.chunks():
                file.write(chunk)
                digest.update(chunk)
        return digest.hexdigest()

    def chunks(self) -> Iterator[bytes]:
        """Yield the content in pieces.

        Raises:
            InputError: `media_changed` if size or hash differ from those of the row.
            OSError: the file cannot be read.
        """
        digest, size = hashlib.sha256(), 0
        with open_stream(self.location, build_export_cache()) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
                if size > self.bytes:
                    break
                yield chunk
        if size != self.bytes or (self.sha256 and digest.hexdigest() != self.sha256):
            found = f"found {size} bytes with sha256 {digest.hexdigest()[:16]}…"
            expected = f"expected {self.bytes} with {(self.sha256 or 'any')[:16]}…"
            sentence = f"{safe_text(self.location, 200)}: {found}, {expected}: it changed, so run the record again"
            raise InputError("media_changed", sentence)


class RowMedia:
    """Finds media files and their sizes. Use it as a context manager.

    An input is found only if the row has the hash of its content: without it, the path may refer to any file.

    Args:
        with_inputs: whether to look for portraits and recordings.
    """

    def __init__(self, *, with_inputs: bool) -> None:
        self.with_inputs = with_inputs
        self._pool = ThreadPoolExecutor(LOOKUP_THREADS, thread_name_prefix="file-sizes")

    def __enter__(self) -> RowMedia:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def find(self, rows: Sequence[dict[str, Any]], runs: Sequence[SourceRun]) -> list[pa.Array]:
        """Return location, size and hash of each kind of media, as in `OWN_FIELDS`.

        The recording of a row without one is the speech of its text.

        Args:
            rows: values of `MEDIA_COLUMNS`, `text` and `voice`.
            runs: run of each row.

        Raises:
            InputError: `video_missing`.
        """
        arrays = []
        for kind in MEDIA_KINDS:
            files = [self._locate(kind, row, run) for row, run in zip(rows, runs, strict=True)]
            sizes = self._find_sizes([location for location, _ in files])
            if kind == "video":
                _require_videos(rows, runs, files, sizes)
            found = [location if size is not None else None for (location, _), size in zip(files, sizes, strict=True)]
            arrays += [pa.array(found, pa.string()), pa.array(sizes, pa.int64())]
            arrays.append(pa.array([digest for _, digest in files], pa.string()))
        return arrays

    def _find_sizes(self, locations: Sequence[str | None]) -> list[int | None]:
        """Return the size of each file; None if it is no readable regular file."""
        distinct = [*dict.fromkeys(location for location in locations if location)]
        find_all = self._pool.map if any(map(is_remote, distinct)) else map
        sizes = dict(zip(distinct, find_all(_find_size, distinct), strict=True))
        return [sizes[location] if location else None for location in locations]

    def _locate(self, kind: str, row: dict[str, Any], run: SourceRun) -> tuple[str | None, str | None]:
        if kind == "video":
            return run.locate_video(row), row.get("sha256")
        digest = row.get(f"{INPUT_COLUMNS[kind]}_sha256")
        if not self.with_inputs or not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            return None, None
        if kind == "audio" and not row.get("audio") and (text := row.get("text")):
            return run.folder.storage.location(speech_path(text, row.get("voice"))), digest
        return run.locate_input(row.get(INPUT_COLUMNS[kind])), digest


def _require_videos(
    rows: Sequence[dict[str, Any]],
    runs: Sequence[SourceRun],
    files: Sequence[tuple[str | None, str | None]],
    sizes: Sequence[int | None],
) -> None:
    for row, run, (location, _), size in zip(rows, runs, files, sizes, strict=True):
        if size is not None:
            continue
        root = run.folder.storage.root
        if row["video"] and (missing := run.folder.find_missing_files()):
            problem = f"files of finished records are missing: {len(missing):,}, such as {safe_text(missing[0], 200)}"
            todo = f"expected all: make them again with joyvasa resume {shlex.quote(root)} --retry missing"
            raise InputError("video_missing", f"{safe_text(root, 200)}: {problem}; {todo}")
        found = f"{safe_text(location, 200)} is missing" if location else "it has no video"
        sentence = f"{safe_text(root, 200)}: record {safe_text(row['record_id'])}: {found}; expected a file"
        raise InputError("video_missing", f"{sentence}: restore it, or select rows without it")


def build_export_cache() -> MediaCacheConfig:
    """Return the configuration of the cache for media that are no local files, of this process."""
    return MediaCacheConfig(f"export {os.getpid()}")


def _find_size(location: str) -> int | None:
    try:
        if not is_remote(location):
            status = os.stat(location)
            return status.st_size if stat.S_ISREG(status.st_mode) else None
        if split_member(location):
            with local_file(location, build_export_cache()) as file:
                return file.stat().st_size
        fs, path = open_filesystem(location)
        info = fs.info(path)
        return None if info["type"] == "directory" or info.get("size") is None else int(info["size"])
    except Exception:  # object stores have error classes of their own
        return None


def get_suffix(location: str) -> str:
    """Return the suffix of a media file in lower case, empty if it is unusual."""
    suffix = posixpath.splitext(location.partition("?")[0])[1].lower()
    return suffix if _SUFFIX.fullmatch(suffix) else ""
