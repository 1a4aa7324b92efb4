"""Write files and folders atomically: temporary name, fsync, rename."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
import stat
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path

from joyvasa.errors import OutputError
from joyvasa.runtime.locations import is_same_file

PARTIAL = ".partial-"  # name prefix of files that are being written
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)  # no space left, or disk quota exceeded
_NAME_CHARACTERS = 48  # maximum length of the part of a name that is repeated in the temporary name


class StagedFile:
    """A temporary file next to its target; `commit` gives it the name of the target, which it replaces.

    The temporary file has the suffix of the target. Creating it proves that the folder can be written.

    Raises:
        OSError: the folder cannot be written; also from `commit`.
    """

    def __init__(self, target: Path) -> None:
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(target))
        self._target = target
        self.path = _temporary_path(target)
        self.path.touch(exist_ok=False)
        self._mode = self.path.stat().st_mode & 0o777

    def commit(self) -> None:
        """Sync the content to disk and rename the file to its target."""
        self.path.chmod(self._mode)  # some writers replace the file with a private one
        move_into_place(self.path, self._target)

    def discard(self) -> None:
        """Remove the temporary file if it exists."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)


@contextmanager
def atomic_file(path: Path) -> Generator[Path]:
    """Yield a temporary path to write; it becomes `path` when the block ends without an exception.

    Raises:
        OSError: the file cannot be written.
    """
    staged = StagedFile(path)
    try:
        yield staged.path
        staged.commit()
    finally:
        staged.discard()


def atomic_write(path: Path, content: bytes) -> None:
    """Write a whole file.

    Raises:
        OSError: the file cannot be written.
    """
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


@contextmanager
def atomic_folder(path: Path) -> Generator[Path]:
    """Yield a temporary folder to fill; it becomes `path` when the block ends without an exception.

    Args:
        path: path of the new folder, which must not exist or must be empty. Missing parents are created.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary_path(path)
    temporary.mkdir()
    try:
        yield temporary
        for file in temporary.iterdir():
            _sync(file)
        _sync_folder(temporary)
        if path.exists():
            path.rmdir()
        os.replace(temporary, path)
        _sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def output_errors(path: Path) -> Generator[None]:
    """Convert an OSError of the block to an OutputError.

    Raises:
        OutputError: `disk_full` or `output_unwritable`.
    """
    try:
        yield
    except OSError as error:
        raise build_output_error(path, error.errno) from error


def build_output_error(path: Path, number: int | None) -> OutputError:
    """Return the error for an output file that cannot be written."""
    if number in FULL_DISK:
        return OutputError("disk_full", f"{path}: no space left on the disk: free space, then run it again")
    reason = os.strerror(number or errno.EIO)
    return OutputError(
        "output_unwritable", f"{path}: cannot be written ({reason}): free space or check access, then run it again"
    )


def move_into_place(finished: Path, target: Path) -> None:
    """Sync a finished file to disk and rename it to a target on the same file system.

    Raises:
        OSError: the file cannot be written.
    """
    _sync(finished)
    os.replace(finished, target)
    _sync_folder(target.parent)


def check_writable(path: Path, inputs: Iterable[Path] = ()) -> None:
    """Check that a file can be written, before work whose result it is to hold, and is none of the inputs.

    Raises:
        OutputError: `disk_full`, `output_unwritable`, or `output_is_input`, also if one is a link to the other.
    """
    with output_errors(path):
        StagedFile(path).discard()
    for source in inputs:
        if is_same_file(str(path), str(source)):
            sentence = f"{path}: the same file as the input {source}; expected a new file: rename it"
            raise OutputError("output_is_input", sentence)


def check_regular(path: str | Path) -> None:
    """Check that a path is a regular file, or a link to one: opening a named pipe would block.

    Raises:
        OSError: it does not exist; ENXIO if it is something else.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.ENXIO, "not a regular file", str(path))


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file's content, 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    """Sync the entries of a folder to disk."""
    if os.name != "nt":  # Windows cannot open folders
        _sync(folder)


def _temporary_path(target: Path) -> Path:
    return target.with_name(f"{PARTIAL}{secrets.token_hex(4)}-{target.stem[:_NAME_CHARACTERS]}{target.suffix}")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
