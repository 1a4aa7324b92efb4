"""Stage `hash_inputs`: hash the media files of a row, so that rows with equal files share results."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import ClassVar

from stages.base import Failed, Item, Ok, Outcome, Resources, Stage
from stages.failures import map_each
from stages.media import CHUNK_BYTES, MAX_BYTES, RemoteError, local_file, open_stream, parse_host
from stages.media_cache import MediaCacheConfig

THREADS = 8  # files read at once; reading waits for disks and networks, and hashing releases the GIL
CACHED_HASHES = 1 << 16  # per worker; about 20 MB

# Permanent errors; the reader of the column reports them better.
_PERMANENT = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENXIO, errno.EACCES, errno.ENAMETOOLONG, errno.ELOOP}


@dataclass(frozen=True)
class InputHashes:
    """SHA-256 of the media files of a row, 64 hexadecimal digits; None without a file, or if it exceeds 4 GiB."""

    image_sha256: str | None = None
    audio_sha256: str | None = None
    motion_sha256: str | None = None


class HashInputsStage(Stage[None]):
    """Hash the files in `image`, `audio` and `motion` of a row.

    Payload: `InputHashes`; its fields are also the facts. The result depends on the locations of the files only, so it
    can be shared.

    Files are streamed. A local file is then in the page cache for the stages that decode it, a remote one in the cache
    of the run. A worker caches hashes, so that a portrait used by many rows is read once.
    """

    name = "hash_inputs"
    resources = Resources(cpu=0.1)
    batch_size = 32
    columns: ClassVar = {"image_sha256": str, "audio_sha256": str, "motion_sha256": str}

    def setup(self) -> None:
        """Create the cache of hashes."""
        self._hash = lru_cache(CACHED_HASHES)(partial(_hash_content, cache=self.media_cache))  # failures are not cached

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Hash the distinct files of all rows in parallel."""
        files = list(dict.fromkeys(file for item in batch for file in _files(item)))
        silent: dict[str | None, RemoteError] = {}  # hosts that did not answer, so that each costs one time limit
        with ThreadPoolExecutor(THREADS, thread_name_prefix="hash") as pool:
            results = pool.map(lambda file: map_each([file], lambda entry: self._hash_file(entry, silent))[0], files)
            hashes = dict(zip(files, results, strict=True))
        return [_outcome({column: hashes[column, location] for column, location in _files(item)}) for item in batch]

    def _hash_file(self, file: tuple[str, str], silent: dict[str | None, RemoteError]) -> str | None:
        column, location = file
        host = parse_host(location)
        if host in silent:
            raise RemoteError(f"{location}: not tried, as {host} did not answer ({silent[host]})")
        try:
            return self._hash(column, location)
        except RemoteError as error:
            if host and not error.answered:
                silent[host] = error
            raise


def _files(item: Item) -> list[tuple[str, str]]:
    """Return the column and the location of each file of a row."""
    locations = ((column, getattr(item.record, column)) for column in ("image", "audio", "motion"))
    return [(column, location) for column, location in locations if location]


def _outcome(hashes: Mapping[str, str | Failed | None]) -> Outcome:
    failure = next((digest for digest in hashes.values() if isinstance(digest, Failed)), None)
    if failure:
        return failure
    payload = InputHashes(**{f"{column}_sha256": digest for column, digest in hashes.items()})  # type: ignore[arg-type]
    return Ok(payload, asdict(payload))


def _hash_content(column: str, location: str, *, cache: MediaCacheConfig | None) -> str | None:
    """Hash a file; return None if it is too large.

    Raises:
        InputError: the file is missing, empty, or cannot be opened; raised by the reader of the column.
        OSError: the file cannot be read; a retry may help.
    """
    digest, n_bytes = hashlib.sha256(), 0
    try:
        with open_stream(location, cache) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                n_bytes += len(chunk)
                if n_bytes > MAX_BYTES:
                    return None
                digest.update(chunk)
    except OSError as error:
        if error.errno not in _PERMANENT:
            raise
        n_bytes = 0
    if not n_bytes:
        with local_file(location, cache) as path:
            _check_content(column, path)
        raise OSError(f"{location}: could not be read at first, then could: it is being written")
    return digest.hexdigest()


def _check_content(column: str, path: Path) -> None:
    """Read a bad file as the stage of its column does; decoders are imported for these only: the worker stays small."""
    if column == "image":
        from joyvasa.media.image import read_image

        read_image(path)
    elif column == "audio":
        from joyvasa.media.audio import probe_audio

        probe_audio(path)
    else:
        from joyvasa.motion.file import load_motion

        load_motion(path)
