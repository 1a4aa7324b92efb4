"""Lookup of the media files of rows, once per distinct path."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from joyvasa.runtime.locations import is_remote, open_filesystem, split_member
from manifests.hash_index import HashIndex
from manifests.problems import ValueFault

LOOKUP_THREADS = 8  # lookups wait for disks and networks
_FAULTS = (
    None,
    ValueFault("file_missing", "no such file; expected a path relative to the manifest's folder, or absolute"),
    ValueFault("file_empty", "the file is empty: make or copy it again"),
    ValueFault("file_not_regular", "is not a regular file"),
    ValueFault("file_unreadable", "cannot be looked up: check access to it"),
)
_OK, _MISSING, _EMPTY, _NOT_REGULAR, _UNREADABLE = range(len(_FAULTS))


class MediaFileCheck:
    """Looks up files in a thread pool, with 17 bytes of memory per distinct path.

    Use it as a context manager, which stops the threads on exit.

    Args:
        remote: whether to look up URIs, too, with one request per distinct URI.
    """

    def __init__(self, *, remote: bool = False) -> None:
        self._remote = remote
        self._index = HashIndex()
        self._states = np.zeros(1024, dtype=np.int8)
        self._pool = ThreadPoolExecutor(LOOKUP_THREADS, thread_name_prefix="file-check")

    def __enter__(self) -> MediaFileCheck:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def check(self, paths: Sequence[str]) -> list[ValueFault | None]:
        """Return the fault of each local path or URI, None if the file exists."""
        if not paths:
            return []
        n_known = len(self._index)
        numbers = self._index.add(paths)
        new = {int(number): path for number, path in zip(numbers, paths, strict=True) if number >= n_known}
        while len(self._states) < len(self._index):
            self._states = np.concatenate([self._states, np.zeros_like(self._states)])
        for number, state in zip(new, self._pool.map(self._state, new.values()), strict=True):
            self._states[number] = state
        return [_FAULTS[state] for state in self._states[numbers]]

    def _state(self, path: str) -> int:
        while parts := split_member(path):  # the members themselves are checked when they are read
            path = parts[2]
        if is_remote(path):
            return _remote_state(path) if self._remote else _OK
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return _MISSING
        except OSError:
            return _UNREADABLE
        if not stat.S_ISREG(status.st_mode):
            return _NOT_REGULAR
        return _OK if status.st_size else _EMPTY


def _remote_state(uri: str) -> int:
    try:
        fs, path = open_filesystem(uri)
        info = fs.info(path)
    except FileNotFoundError:
        return _MISSING
    except Exception:  # object stores have error classes of their own
        return _UNREADABLE
    if info.get("type") == "directory":
        return _NOT_REGULAR
    return _EMPTY if info.get("size") == 0 else _OK
