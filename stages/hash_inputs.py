"""Files that rows name become hashes, by which results are shared whatever the files are called."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from joyvasa.errors import ConfigError
from stages.base import Failed, Item, Ok, Outcome, Resources, Stage
from stages.isolation import map_each
from stages.media import CHUNK_BYTES, MAX_BYTES, local_file, open_stream

KNOWN_FILES = 1 << 16  # hashes that a worker remembers; some 20 MB

# What a reader of the file can say better: trying again would change nothing.
_FINAL = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENXIO, errno.EACCES, errno.ENAMETOOLONG, errno.ELOOP}


@dataclass(frozen=True, kw_only=True)
class HashInputsConfig:
    """How files are read.

    Attributes:
        threads: files read at once; they wait for disks and networks, and hashing runs beside other threads.

    Raises:
        ConfigError: `config_invalid`.
    """

    threads: int = 8

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise ConfigError("config_invalid", f"threads is {self.threads}; expected at least 1")


@dataclass(frozen=True)
class InputHashes:
    """SHA-256 of the files of a row, 64 hexadecimal digits; None where there is no file, or one above 4 GiB."""

    image_sha256: str | None = None
    audio_sha256: str | None = None
    motion_sha256: str | None = None


class HashInputsStage(Stage):
    """Row `image`, `audio`, `motion` -> `Identity`; its fields are the facts.

    Each file is read once as a stream and then lies in the page cache for the stages that decode it; in an object
    store that is one more read of it. A worker remembers the files that it has read, so that a portrait of many rows is
    read once. May be shared: all depends on the locations of the files.

    Args:
        config: see `HashInputsConfig`.
    """

    name = "hash_inputs"
    resources = Resources(cpu=0.1)
    batch_size = 32
    columns: ClassVar = {"image_sha256": str, "audio_sha256": str, "motion_sha256": str}

    def __init__(self, config: HashInputsConfig) -> None:
        self.config = config

    def setup(self) -> None:
        """Knows no file yet."""
        self._hash = lru_cache(KNOWN_FILES)(_content_hash)  # remembers no failures

    def run(self, batch: Sequence[Item]) -> list[Outcome]:
        """Reads the files of all rows side by side, each once."""
        files = list(dict.fromkeys(file for item in batch for file in _files(item)))
        with ThreadPoolExecutor(self.config.threads, thread_name_prefix="hash") as pool:
            hashes = pool.map(lambda file: map_each([file], lambda one: self._hash(*one))[0], files)
            found = dict(zip(files, hashes, strict=True))
        return [_outcome({column: found[column, location] for column, location in _files(item)}) for item in batch]


def _files(item: Item) -> list[tuple[str, str]]:
    """Column and location of each file of a row."""
    locations = ((column, getattr(item.record, column)) for column in _READERS)
    return [(column, location) for column, location in locations if location]


def _outcome(hashes: Mapping[str, str | Failed | None]) -> Outcome:
    failed = next((found for found in hashes.values() if isinstance(found, Failed)), None)
    if failed:
        return failed
    identity = InputHashes(**{f"{column}_sha256": found for column, found in hashes.items()})  # type: ignore[arg-type]
    return Ok(identity, asdict(identity))


def _content_hash(column: str, location: str) -> str | None:
    """Hash of a file; None if it is too large.

    Raises:
        InputError: what the reader of the column says of a file that is not there, empty, or cannot be opened.
        OSError: another attempt may help.
    """
    digest, n_bytes = hashlib.sha256(), 0
    try:
        with open_stream(location) as stream:
            while chunk := stream.read(CHUNK_BYTES):
                n_bytes += len(chunk)
                if n_bytes > MAX_BYTES:
                    return None
                digest.update(chunk)
    except OSError as error:
        if error.errno not in _FINAL:
            raise
        n_bytes = 0
    if not n_bytes:
        with local_file(location) as path:
            _READERS[column](path)
        raise OSError(f"{location}: could not be read at first, and then could: it is being written")
    return digest.hexdigest()


def _read_image(path: Path) -> object:
    from joyvasa.media.image import read_image

    return read_image(path)


def _read_audio(path: Path) -> object:
    from joyvasa.media.audio import probe_audio

    return probe_audio(path)


def _read_motion(path: Path) -> object:
    from joyvasa.motion.file import load_motion

    return load_motion(path)


# Imported when a file is bad: a worker needs no decoders otherwise.
_READERS: Mapping[str, Callable[[Path], object]] = {
    "image": _read_image,
    "audio": _read_audio,
    "motion": _read_motion,
}
