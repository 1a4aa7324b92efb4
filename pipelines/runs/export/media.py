"""Media files of exported rows: their sizes, and reading with a check of the content."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from joyvasa.errors import InputError
from joyvasa.runtime.locations import is_remote, open_filesystem, split_member
from manifests.problems import safe_text
from stages.media import local_file, open_stream
from stages.media_cache import MediaCacheConfig

CHUNK_BYTES = 1 << 20
LOOKUP_THREADS = 16


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


class FileSizes:
    """Looks up sizes of files, several at once. Use it as a context manager."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(LOOKUP_THREADS, thread_name_prefix="file-sizes")

    def __enter__(self) -> FileSizes:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def find(self, locations: Sequence[str | None]) -> list[int | None]:
        """Return the size of each file; None if it is no readable regular file."""
        distinct = [*dict.fromkeys(location for location in locations if location)]
        if any(map(is_remote, distinct)):
            sizes = dict(zip(distinct, self._pool.map(_find_size, distinct), strict=True))
        else:
            sizes = {location: _find_size(location) for location in distinct}
        return [sizes[location] if location else None for location in locations]


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
