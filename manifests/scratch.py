"""Scratch folders for temporary files; those of killed processes are found and removed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "joyvasa-scratch-"  # prefix of scratch folders in the system's folder for temporary files


def lock(handle: int, *, shared: bool = False) -> None:
    """Lock an open file or folder; does nothing on file systems without locks, which are not swept."""
    import fcntl  # not available on Windows, where runs are supported in WSL only

    with contextlib.suppress(OSError):
        fcntl.flock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)


def lock_unused(handle: int) -> None:
    """Lock an open file or folder; raise OSError if another process has locked it, or without locks."""
    import fcntl

    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def scratch_folder() -> Generator[Path]:
    """Yield a new local folder, which is removed with its content when the block ends.

    During the block the process holds a lock on the folder. The lock ends with the process, so that `sweep_scratch`
    recognizes folders in use.

    Raises:
        OSError: the folder for temporary files is full or cannot be written.
    """
    folder, handle = _locked_folder()
    try:
        yield folder
    finally:
        try:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(handle)  # after a second Ctrl-C, too: without the lock, `sweep_scratch` removes the rest


class SharedScratch:
    """A local folder that processes of this user share by its name.

    The processes hold a shared lock on it. The last one that closes it removes it; if that one is killed,
    `sweep_scratch` does.

    Args:
        name: name of the folder, any text.

    Attributes:
        folder: the folder.

    Raises:
        OSError: the folder for temporary files is full, cannot be written, or contains such a folder of another user.
    """

    def __init__(self, name: str) -> None:
        digest = hashlib.blake2b(f"{os.getuid()}:{name}".encode(), digest_size=8).hexdigest()
        self.folder = Path(tempfile.gettempdir(), f"{PREFIX}shared-{digest}")
        while True:
            self.folder.mkdir(mode=0o700, exist_ok=True)
            try:
                self._handle = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            except FileNotFoundError:
                continue  # removed by another process before it was locked
            status = os.fstat(self._handle)
            if status.st_uid != os.getuid():
                os.close(self._handle)
                raise PermissionError(errno.EACCES, "belongs to another user", str(self.folder))
            lock(self._handle, shared=True)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(status, os.stat(self.folder)):
                    return
            os.close(self._handle)

    def close(self) -> None:
        """Remove the folder, unless another process uses it."""
        with contextlib.suppress(OSError):
            lock_unused(self._handle)
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._handle)


def sweep_scratch() -> None:
    """Remove scratch folders that killed processes of this user left on this machine."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # removed meanwhile, or owned by another user
            continue
        try:
            if os.fstat(handle).st_uid == os.getuid():
                lock_unused(handle)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # in use
            pass
        finally:
            os.close(handle)


def _locked_folder() -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue  # removed by another process before it was locked
        lock(handle)
        if folder.exists():
            return folder, handle
        os.close(handle)
