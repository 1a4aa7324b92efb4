"""A bounded cache of media files on the local disk, shared by the processes of a run on one machine."""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from joyvasa.runtime.files import FULL_DISK
from manifests.scratch import SharedScratch, lock, lock_unused

CACHE_BYTES = 16 << 30  # enough for the shards that are in progress on one machine
CHECKED_SHARE = 1 / 16  # share of its size that a process adds before it looks at the size of the cache again
LOCKS = 256  # files that processes lock while they make entries
PARTIAL = ".partial-"  # name prefix of entries that are being written
LOCK = ".lock-"  # name prefix of the locked files
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class MediaCacheConfig:
    """Configuration of `MediaCache`."""

    name: str  # name of the cache; processes on one machine with the same name share it. A run uses its folder
    # size of the cache. It may be exceeded by files in use, and by a sixteenth for each process
    max_bytes: int = CACHE_BYTES


class MediaCache:
    """Files on the local disk, each made once; the ones that were not used for the longest time are removed.

    The folder is removed with the last process that uses it.

    Raises:
        OSError: the folder for temporary files cannot be written.
    """

    def __init__(self, config: MediaCacheConfig) -> None:
        self.config = config
        self._scratch = SharedScratch(f"media:{config.name}")
        self.folder = self._scratch.folder
        self._unchecked_bytes = config.max_bytes  # written since the size was looked at; other processes may have begun
        atexit.register(self.close)

    def close(self) -> None:
        """Stop using the cache."""
        atexit.unregister(self.close)
        self._scratch.close()

    @contextmanager
    def entry(self, key: str, make: Callable[[Path], object], *, lock: str = "") -> Generator[Path]:
        """Yield the file of a key; it is not removed before the block ends.

        Args:
            key: location of the content.
            make: function that writes the content to a new file. It is called if the file does not exist. Two processes
                do not make the same file at once.
            lock: name of a group of keys of which one is made at a time; the key itself by default.
        """
        path = self._path(key)
        with self._locked(lock or key):
            handle = self._open(path)
            if handle is None:
                handle = self._make(path, make)
        try:
            yield path
        finally:
            os.close(handle)

    def add(self, contents: Iterable[tuple[str, bytes | memoryview]]) -> None:
        """Write the files of several keys, unless they exist."""
        for key, content in contents:
            path = self._path(key)
            if not path.exists():
                os.close(self._make(path, lambda partial, content=content: partial.write_bytes(content)))

    def _path(self, key: str) -> Path:
        """Return the path of an entry; it ends like the key, so that the file has its suffix."""
        name = _UNSAFE.sub("_", key.partition("::")[0].rpartition("://")[2])[-64:].strip(".") or "file"
        return self.folder / f"{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}-{name}"

    @contextmanager
    def _locked(self, name: str) -> Generator[None]:
        number = hashlib.blake2b(name.encode(), digest_size=2).digest()[0] % LOCKS
        handle = os.open(self.folder / f"{LOCK}{number}", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            lock(handle)  # without locks two processes may make the same file
            yield
        finally:
            os.close(handle)

    def _open(self, path: Path) -> int | None:
        """Open and lock an entry, so that it is not removed; return None if it does not exist."""
        while True:
            try:
                handle = _lock_shared(path)
            except FileNotFoundError:
                return None
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(path)
                if os.path.samestat(os.fstat(handle), status):  # else it was removed before it was locked
                    # The time of its modification stays: by it, archives are recognized, whose members are known.
                    os.utime(path, ns=(time.time_ns(), status.st_mtime_ns))
                    return handle
            os.close(handle)

    def _make(self, path: Path, make: Callable[[Path], object]) -> int:
        """Make an entry and return a handle that locks it."""
        partial = self.folder / f"{PARTIAL}{os.getpid()}-{secrets.token_hex(8)}"
        try:
            try:
                make(partial)
            except OSError as error:
                if error.errno not in FULL_DISK:
                    raise
                partial.unlink(missing_ok=True)
                self._shrink(0)  # the disk is full before the cache is
                make(partial)
            self._make_room(partial.stat().st_size)
            handle = _lock_shared(partial)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        return handle

    def _make_room(self, n_bytes: int) -> None:
        """Remove the oldest entries that are not in use, if the cache may have become too large."""
        self._unchecked_bytes += n_bytes
        if self._unchecked_bytes <= self.config.max_bytes * CHECKED_SHARE:
            return
        self._unchecked_bytes = 0
        self._shrink(self.config.max_bytes)

    def _shrink(self, n_bytes: int) -> None:
        """Remove entries that are not in use, the oldest first, until the others have at most `n_bytes`."""
        entries = []
        for entry in os.scandir(self.folder):
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat(follow_symlinks=False)
                if not entry.name.startswith(LOCK):
                    entries.append((status.st_atime_ns, status.st_size, entry))
        excess = sum(size for _, size, _ in entries) - n_bytes
        for _, size, entry in sorted(entries, key=lambda item: item[0]):
            if excess <= 0:
                break
            if not _is_being_written(entry.name) and _remove_unused(entry.path):
                excess -= size


def _lock_shared(path: Path) -> int:
    """Open a file and lock it against `_remove_unused`."""
    handle = os.open(path, os.O_RDONLY)
    lock(handle, shared=True)
    return handle


def _is_being_written(name: str) -> bool:
    """Return whether a file is a partial one whose process is alive."""
    if not name.startswith(PARTIAL):
        return False
    try:
        os.kill(int(name.removeprefix(PARTIAL).partition("-")[0]), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        pass
    return True


def _remove_unused(path: str) -> bool:
    """Remove an entry unless a process uses it; return whether it was removed."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        lock_unused(handle)
        if not os.path.samestat(os.fstat(handle), os.stat(path)):
            return False  # removed and made again before it was locked
        os.unlink(path)
    except OSError:  # in use, or a file system without locks
        return False
    finally:
        os.close(handle)
    return True


_OPENING = threading.Lock()  # a second cache of another thread would keep the folder from being removed
_OPENED: dict[MediaCacheConfig, MediaCache] = {}


def open_cache(config: MediaCacheConfig) -> MediaCache:
    """Return the cache of a run in this process, the same one in all threads."""
    with _OPENING:
        if config not in _OPENED:
            _OPENED[config] = MediaCache(config)
        return _OPENED[config]


def close_cache(config: MediaCacheConfig) -> None:
    """Close the cache of a run in this process, if it is open."""
    with _OPENING:
        if cache := _OPENED.pop(config, None):
            cache.close()
