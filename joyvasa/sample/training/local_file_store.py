"""Atomic files in a local folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from joyvasa.runtime.files import atomic_file


class LocalFileStore:
    """Implement `joyvasa.training.file_store.FileStore` for a local folder.

    Args:
        folder: root folder; created when the first file is written.
    """

    local = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.root = str(folder)

    def location(self, path: str) -> str:
        """Return the path of a file, for messages."""
        return str(self._folder / path)

    @contextmanager
    def staging(self, path: str) -> Iterator[Path]:
        """Yield a new file to write; it becomes `path` when the block ends without an exception."""
        file = self._folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(file) as staged:
            yield staged

    def write(self, path: str, content: bytes) -> None:
        """Write a whole file."""
        with self.staging(path) as staged:
            staged.write_bytes(content)

    def read(self, path: str) -> bytes:
        """Return the bytes of a file."""
        return (self._folder / path).read_bytes()

    def open(self, path: str) -> BinaryIO:
        """Open a file for reading."""
        return (self._folder / path).open("rb")

    def names(self, folder: str) -> list[str]:
        """Return the sorted names in a folder; an empty list if it does not exist."""
        path = self._folder / folder
        return sorted(os.listdir(path)) if path.is_dir() else []

    def exists(self, path: str) -> bool:
        """Return whether a file exists."""
        return (self._folder / path).is_file()

    def remove(self, path: str) -> None:
        """Remove a file or a folder; do nothing if it does not exist."""
        target = self._folder / path
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
