"""A folder on any file system, where files appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import posixpath
import shutil
import stat
from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from fsspec.core import url_to_fs

from joyvasa.runtime.files import atomic_file
from manifests.errors import ManifestError
from manifests.manifest import is_remote
from manifests.problems import safe_text
from manifests.scratch import scratch_folder


class Storage(ABC):
    """Files below one root, named by relative paths with forward slashes.

    Args:
        root: local path or URI, without a slash at its end.
    """

    local = False

    def __init__(self, root: str) -> None:
        self.root = root

    def location(self, path: str) -> str:
        """The absolute local path or URI of a file."""
        return f"{self.root}/{path}" if path else self.root

    @contextmanager
    def staging(self, path: str) -> Generator[Path]:
        """Gives a local file to write; it becomes `path` when the block ends without an exception.

        The local file has the same suffix. An existing file is replaced. The data are on the disk, or
        with the object store, before the name appears. An OSError of the block counts as a failure to write.

        Raises:
            ManifestError: `output_unwritable`.
        """
        try:
            with self._stage(path) as staged:
                yield staged
        except OSError as error:
            raise unwritable_error(self.location(path), error) from error

    def write(self, path: str, content: bytes) -> None:
        """Puts a whole file in place.

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
        """The bytes of a file; FileNotFoundError if it is not there."""

    @abstractmethod
    def open(self, path: str) -> BinaryIO:
        """Opens a file for reading; FileNotFoundError if it is not there."""

    @abstractmethod
    def size(self, path: str) -> int | None:
        """Bytes of a file, None if it is not there."""

    @abstractmethod
    def names(self, folder: str) -> list[str]:
        """Names of files and folders in a folder, sorted; none if it is not there."""

    def remove(self, path: str) -> None:
        """Removes a file or a folder with all that is in it; nothing happens if it is not there.

        Raises:
            ManifestError: `output_unwritable`.
        """
        try:
            self._remove(path)
        except OSError as error:
            raise unwritable_error(self.location(path), error) from error

    @abstractmethod
    def _remove(self, path: str) -> None:
        """See `remove`; OSError if it cannot be done."""

    def exists(self, path: str) -> bool:
        """Whether a file is there."""
        return self.size(path) is not None


class LocalStorage(Storage):
    """A folder of this machine, or of a network file system that it mounts."""

    local = True

    def path(self, path: str) -> Path:
        """The file as a path."""
        return Path(self.root, path)

    @contextmanager
    def _stage(self, path: str) -> Generator[Path]:
        target = self.path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(target) as staged:
            yield staged

    def read(self, path: str) -> bytes:
        """See `Storage`."""
        return self.path(path).read_bytes()

    def open(self, path: str) -> BinaryIO:
        """See `Storage`."""
        return self.path(path).open("rb")

    def size(self, path: str) -> int | None:
        """See `Storage`."""
        try:
            found = self.path(path).stat()
            return found.st_size if stat.S_ISREG(found.st_mode) else None
        except (FileNotFoundError, NotADirectoryError):
            return None

    def names(self, folder: str) -> list[str]:
        """See `Storage`."""
        try:
            return sorted(os.listdir(self.path(folder)))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _remove(self, path: str) -> None:
        target = self.path(path)
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)


class ObjectStorage(Storage):
    """A prefix of an object store, where one upload makes one whole object appear.

    A file is written locally and uploaded once: nothing is renamed there, and an upload that breaks
    off leaves nothing visible.
    """

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self._fs: Any
        self._fs, self._prefix = url_to_fs(root)

    def _full(self, path: str) -> str:
        return f"{self._prefix.rstrip('/')}/{path}" if path else self._prefix

    @contextmanager
    def _stage(self, path: str) -> Generator[Path]:
        with scratch_folder() as folder:
            staged = folder / posixpath.basename(path)
            yield staged
            with _plain_errors():
                self._fs.put_file(str(staged), self._full(path))

    def read(self, path: str) -> bytes:
        """See `Storage`."""
        with _plain_errors():
            return cast(bytes, self._fs.cat_file(self._full(path)))

    def open(self, path: str) -> BinaryIO:
        """See `Storage`."""
        with _plain_errors():
            return cast(BinaryIO, self._fs.open(self._full(path), "rb"))

    def size(self, path: str) -> int | None:
        """See `Storage`."""
        self._fs.invalidate_cache()  # another process may have written
        try:
            with _plain_errors():
                info = self._fs.info(self._full(path))
        except FileNotFoundError:
            return None
        return None if info["type"] == "directory" else int(info["size"])

    def names(self, folder: str) -> list[str]:
        """See `Storage`."""
        self._fs.invalidate_cache()
        try:
            with _plain_errors():
                found = self._fs.ls(self._full(folder), detail=False)
        except FileNotFoundError:
            return []
        own = self._full(folder).rstrip("/")
        return sorted({posixpath.basename(name.rstrip("/")) for name in found if name.rstrip("/") != own})

    def _remove(self, path: str) -> None:
        self._fs.invalidate_cache()
        with contextlib.suppress(FileNotFoundError), _plain_errors():
            self._fs.rm(self._full(path), recursive=True)


def open_storage(root: str | os.PathLike[str]) -> Storage:
    """The storage of a local path or any fsspec URI (`s3://`, `gs://`, `memory://` ...).

    Access to object stores is set up as for fsspec: through its configuration files and environment variables.

    Raises:
        ManifestError: `storage_unknown` if the scheme is unknown or its package is not installed.
    """
    text = os.fspath(root)
    if not is_remote(text):
        return LocalStorage(os.path.abspath(text.removeprefix("file://").removeprefix("local://")))
    try:
        return ObjectStorage(text.rstrip("/"))
    except (ValueError, ImportError) as error:
        sentence = f"{safe_text(text, 200)}: cannot be used ({safe_text(error, 200)}): install what its scheme needs"
        raise ManifestError("storage_unknown", sentence) from None


def unwritable_error(location: str, error: OSError) -> ManifestError:
    """The error for a file that cannot be written, code `output_unwritable`."""
    reason = safe_text(error.strerror or error, 200)
    sentence = f"{safe_text(location, 200)}: cannot be written ({reason}): free space or check access, then resume"
    return ManifestError("output_unwritable", sentence)


@contextmanager
def _plain_errors() -> Generator[None]:
    """Object stores bring error classes of their own; all become OSError."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error
