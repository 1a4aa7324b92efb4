"""Storage of run folders on any file system, with atomic writes."""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import shutil
import stat
from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from joyvasa.runtime.files import StagedFile, atomic_file, check_regular
from joyvasa.runtime.locations import get_local_path, is_empty, is_remote, open_filesystem
from manifests.problems import ManifestError, safe_text
from manifests.scratch import scratch_folder


class Storage(ABC):
    """Base class of storages: files below a root, addressed by relative paths with forward slashes.

    Args:
        root: local path or URI, without a trailing slash.
    """

    local = False

    def __init__(self, root: str) -> None:
        self.root = root

    def location(self, path: str) -> str:
        """Return the absolute local path or URI of a file."""
        return f"{self.root}/{path}" if path else self.root

    @contextmanager
    def staging(self, path: str) -> Generator[Path]:
        """Yield the path of a local file to write; it becomes `path` when the block ends without an exception.

        The local file has the suffix of `path`, and an existing file is replaced. The data is synced to the disk or
        uploaded before the name appears. An OSError raised in the block is reported as a failed write.

        Raises:
            ManifestError: `output_unwritable`.
        """
        try:
            with self._stage(path) as staged:
                yield staged
        except OSError as error:
            raise unwritable_error(self.location(path), error) from error

    def write(self, path: str, content: bytes) -> None:
        """Write a file atomically.

        Raises:
            ManifestError: `output_unwritable`.
        """
        with self.staging(path) as staged:
            staged.write_bytes(content)

    @abstractmethod
    def _stage(self, path: str) -> AbstractContextManager[Path]:
        """Yield a local file with the suffix of `path`; it becomes `path` when the block ends without an exception."""

    @abstractmethod
    def read(self, path: str) -> bytes:
        """Return the content of a file; raise FileNotFoundError if it does not exist."""

    @abstractmethod
    def open(self, path: str) -> BinaryIO:
        """Open a file for reading; raise FileNotFoundError if it does not exist."""

    @abstractmethod
    def size(self, path: str) -> int | None:
        """Return the size of a file in bytes, None if it does not exist."""

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """Return the sorted names of files and folders in a folder; none if it does not exist."""

    def remove(self, path: str) -> None:
        """Remove a file or a folder with its content, if it exists.

        Raises:
            ManifestError: `output_unwritable`.
        """
        try:
            self._remove(path)
        except OSError as error:
            raise unwritable_error(self.location(path), error) from error

    @abstractmethod
    def _remove(self, path: str) -> None:
        """See `remove`; raises OSError."""

    def require_writable(self, path: str = "") -> None:  # noqa: B027 (object stores answer when they are written)
        """Check that a file, or any file below the root, can be written, before work whose results it is to hold.

        Raises:
            ManifestError: `output_unwritable`.
        """

    def exists(self, path: str) -> bool:
        """Return whether a file exists."""
        return self.size(path) is not None


class LocalStorage(Storage):
    """A local folder, or a folder on a mounted network file system."""

    local = True

    def path(self, path: str) -> Path:
        """Return the path of a file."""
        return Path(self.root, path)

    @contextmanager
    def _stage(self, path: str) -> Generator[Path]:
        target = self.path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(target) as staged:
            yield staged

    def read(self, path: str) -> bytes:
        """See `Storage`."""
        with self.open(path) as file:
            return file.read()

    def open(self, path: str) -> BinaryIO:
        """See `Storage`; raise OSError if it is not a regular file."""
        check_regular(self.path(path))
        return self.path(path).open("rb")

    def size(self, path: str) -> int | None:
        """See `Storage`."""
        try:
            status = self.path(path).stat()
            return status.st_size if stat.S_ISREG(status.st_mode) else None
        except (FileNotFoundError, NotADirectoryError):
            return None

    def names(self, folder: str) -> list[str]:
        """See `Storage`."""
        try:
            return sorted(os.listdir(self.path(folder)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def require_writable(self, path: str = "") -> None:
        """See `Storage`; missing folders are not created."""
        target = self.path(path or "file")
        try:
            while not target.parent.exists():
                target = target.parent
            StagedFile(target).discard()
        except OSError as error:
            raise unwritable_error(self.location(path), error) from error

    def _remove(self, path: str) -> None:
        target = self.path(path)
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)


class ObjectStorage(Storage):
    """A prefix in an object store.

    A file is written locally and uploaded once. An interrupted upload leaves nothing visible.
    """

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self._fs: Any
        self._fs, self._prefix = open_filesystem(root)

    def _full(self, path: str) -> str:
        return f"{self._prefix.rstrip('/')}/{path}" if path else self._prefix

    @contextmanager
    def _stage(self, path: str) -> Generator[Path]:
        with scratch_folder() as folder:
            staged = folder / posixpath.basename(path)
            yield staged
            with _standard_errors(self.location(path)):
                self._fs.put_file(str(staged), self._full(path))

    def read(self, path: str) -> bytes:
        """See `Storage`."""
        with _standard_errors(self.location(path)):
            return cast(bytes, self._fs.cat_file(self._full(path)))

    def open(self, path: str) -> BinaryIO:
        """See `Storage`."""
        with _standard_errors(self.location(path)):
            return cast(BinaryIO, self._fs.open(self._full(path), "rb"))

    def size(self, path: str) -> int | None:
        """See `Storage`."""
        self._fs.invalidate_cache()  # another process may have written
        try:
            with _standard_errors(self.location(path)):
                info = self._fs.info(self._full(path))
        except FileNotFoundError:
            return None
        return None if info["type"] == "directory" else int(info["size"])

    def names(self, folder: str) -> list[str]:
        """See `Storage`."""
        self._fs.invalidate_cache()
        try:
            with _standard_errors(self.location(folder)):
                paths = self._fs.ls(self._full(folder), detail=False)
        except FileNotFoundError:
            return []
        own = self._full(folder).rstrip("/")
        return sorted({posixpath.basename(path.rstrip("/")) for path in paths if path.rstrip("/") != own})

    def _remove(self, path: str) -> None:
        self._fs.invalidate_cache()
        with contextlib.suppress(FileNotFoundError), _standard_errors(self.location(path)):
            self._fs.rm(self._full(path), recursive=True)


def open_storage(root: str | os.PathLike[str]) -> Storage:
    """Return the storage of a local path or fsspec URI (`s3://`, `gs://`, `memory://` ...).

    Access to object stores is configured as for fsspec: with its configuration files and environment variables.

    Raises:
        ManifestError: `storage_unknown` if the scheme is unknown or its package is not installed, `storage_empty` if
            the path is empty.
    """
    text = os.fspath(root)
    if is_empty(text):
        raise ManifestError("storage_empty", f"folder: found {text!r}; expected a path or URI: name a folder")
    if not is_remote(text):
        return LocalStorage(os.path.abspath(get_local_path(text)))
    try:
        return ObjectStorage(text.rstrip("/"))
    except (ValueError, ImportError) as error:
        sentence = f"{safe_text(text, 200)}: cannot be used ({safe_text(error, 200)}): install what its scheme needs"
        raise ManifestError("storage_unknown", sentence) from None


def unwritable_error(location: str, error: OSError) -> ManifestError:
    """Return the error for a file that cannot be written, with code `output_unwritable`."""
    reason = safe_text(error.strerror or error, 200)
    sentence = f"{safe_text(location, 200)}: cannot be written ({reason}): free space or check access, then resume"
    return ManifestError("output_unwritable", sentence)


@contextmanager
def _standard_errors(location: str) -> Generator[None]:
    """Convert errors of object stores, which have classes of their own, into OSError; all of them name the location."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or location
        raise
    except Exception as error:
        raise OSError(errno.EIO, f"{type(error).__name__}: {error}", location) from error
