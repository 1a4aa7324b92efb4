"""Folders for files of the moment; those of processes that were killed are found and removed."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "joyvasa-scratch-"  # begins the name of such a folder in the system's folder for temporary files


@contextmanager
def scratch_folder() -> Generator[Path]:
    """A new local folder, gone with all that is in it when the block ends.

    While the block lasts the process holds a lock on the folder, which ends with the process, however that dies. So
    `sweep_scratch` can tell what is still in use.

    Raises:
        OSError: the folder for temporary files is full or cannot be written.
    """
    folder, handle = _locked_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def sweep_scratch() -> None:
    """Removes what killed processes of this user have left on this machine."""
    import fcntl  # not on Windows, where runs work inside WSL

    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:  # gone meanwhile, or another user's
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
            continue  # swept before it could be locked
        with contextlib.suppress(OSError):  # a file system without locks: nobody can sweep there either
            fcntl.flock(handle, fcntl.LOCK_EX)
        if folder.exists():
            return folder, handle
        os.close(handle)
