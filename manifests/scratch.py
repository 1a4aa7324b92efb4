"""Scratch folders for temporary files; those of killed processes are found and removed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "joyvasa-scratch-"  # prefix of scratch folders in the system's folder for temporary files


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


def sweep_scratch() -> None:
    """Remove scratch folders that killed processes of this user left on this machine."""
    import fcntl  # not available on Windows, where runs are supported in WSL only

    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # removed meanwhile, or owned by another user
            continue
        try:
            if os.fstat(handle).st_uid == os.getuid():
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # in use
            pass
        finally:
            os.close(handle)


def _locked_folder() -> tuple[Path, int]:
    import fcntl

    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue  # removed by another process before it was locked
        with contextlib.suppress(OSError):  # file systems without locks are not swept
            fcntl.flock(handle, fcntl.LOCK_EX)
        if folder.exists():
            return folder, handle
        os.close(handle)
