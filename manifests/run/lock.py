"""Lock of a run folder, which ensures one driver per run."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import time
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from typing import Any

from filelock import FileLock, Timeout

from joyvasa.runtime.parsing import parse_json
from manifests.problems import ManifestError
from manifests.storage import LocalStorage, Storage, unwritable_error

LEASE_S = 120.0  # a lease on an object store that was not renewed for this time is expired
RENEW_S = 30.0  # four renewals per lease


class RunLock(ABC):
    """Base class of locks, held by the driver during a run; use it as a context manager."""

    @abstractmethod
    def __enter__(self) -> RunLock:
        """Acquire the lock; raise ManifestError `run_locked` if another driver holds it."""

    @abstractmethod
    def __exit__(self, *_: object) -> None: ...

    @property
    def token(self) -> str | None:
        """Token for `check_lease` in other processes of the driver; None if the lock cannot be lost."""
        return None

    @abstractmethod
    def renew(self) -> None:
        """Renew the lock if it is due; call this often. Raises ManifestError `run_locked` if the lock was lost.

        A storage that does not answer is no sign of a loss: the lock is renewed later.
        """


class LocalLock(RunLock):
    """A lock of the operating system on `RUN/.lock`, which ends with its process.

    The file remains and names the process that holds the lock or held it last. On network file systems the lock depends
    on their support of `flock`.
    """

    def __init__(self, storage: LocalStorage) -> None:
        self._storage = storage
        self._path = storage.path(".lock")
        self._lock = FileLock(self._path, blocking=False, thread_local=False)

    def __enter__(self) -> LocalLock:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout:
            raise _locked(self._storage, self._path.read_bytes()) from None
        except OSError as error:
            raise unwritable_error(str(self._path), error) from None
        try:
            self._path.write_bytes(_holder())
        except OSError as error:
            self._lock.release()
            raise unwritable_error(str(self._path), error) from None
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def renew(self) -> None:
        """Do nothing: the operating system tracks whether the process is alive."""


class LeaseLock(RunLock):
    """A lease in `RUN/.lock` of an object store, which must be renewed. Best effort.

    Two drivers that start within a second can both see a free lease; the one whose object is overwritten detects it at
    its next `renew`. A driver that stalls for longer than the lease can lose it.
    """

    def __init__(self, storage: Storage, *, lease_s: float = LEASE_S, renew_s: float = RENEW_S) -> None:
        if not 0 <= renew_s < lease_s:
            raise ValueError(f"renew_s is {renew_s}; expected less than lease_s, {lease_s}")
        self._storage = storage
        self._lease_s = lease_s
        self._renew_s = renew_s
        self._token = secrets.token_hex(8)
        self._written_at = 0.0  # time of the last attempt

    def __enter__(self) -> LeaseLock:
        holder = _read(self._storage)
        renewed = holder.get("renewed")
        if isinstance(renewed, int | float) and time.time() - renewed < self._lease_s:
            raise _locked(self._storage, json.dumps(holder).encode())
        self._write()
        check_lease(self._storage, self._token)
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError, ManifestError):  # a lease that cannot be released expires
            if _read(self._storage).get("token") == self._token:
                self._storage.remove(".lock")

    @property
    def token(self) -> str:
        """See `RunLock`."""
        return self._token

    def renew(self) -> None:
        """See `RunLock`."""
        if time.monotonic() - self._written_at >= self._renew_s:
            check_lease(self._storage, self._token)
            with contextlib.suppress(ManifestError):  # `output_unwritable`
                self._write()

    def _write(self) -> None:
        self._written_at = time.monotonic()
        self._storage.write(".lock", _holder(token=self._token, renewed=time.time()))


def check_lease(storage: Storage, token: str | None) -> None:
    """Check that a driver still holds its lock; called by other processes of the driver.

    Raises:
        ManifestError: `run_locked` if another driver holds the lock. A storage that does not answer is no sign of it.
    """
    with contextlib.suppress(OSError):
        if token is not None and (holder := _read(storage)).get("token") != token:
            raise _locked(storage, json.dumps(holder).encode())


def create_run_lock(storage: Storage) -> RunLock:
    """Create a lock for a storage: a `LocalLock` or a `LeaseLock`."""
    return LocalLock(storage) if isinstance(storage, LocalStorage) else LeaseLock(storage)


def _read(storage: Storage) -> dict[str, Any]:
    try:
        content = parse_json(storage.read(".lock"))
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _holder(**more: Any) -> bytes:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": now, **more}).encode()


def _locked(storage: Storage, holder: bytes) -> ManifestError:
    values: dict[str, Any] = {}
    with contextlib.suppress(ValueError):
        content = parse_json(holder)
        values = content if isinstance(content, dict) else {}
    process = f"process {values.get('pid', '?')} on {values.get('host', '?')} since {values.get('since', '?')}"
    return ManifestError("run_locked", f"{storage.root}: is being written by {process}: wait for it, or stop it")
