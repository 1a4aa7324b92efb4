"""The storage interface of training, for data sets and runs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol


class FileStore(Protocol):
    """Files below a root, named by relative paths with forward slashes; all writes are atomic."""

    root: str
    local: bool  # whether the root is a local path

    def location(self, path: str) -> str:
        """Return the local path or URI of a file, for messages."""
        ...

    def staging(self, path: str) -> AbstractContextManager[Path]:
        """Yield a local file to write; it becomes `path` atomically if the block ends without an exception."""
        ...

    def write(self, path: str, content: bytes) -> None:
        """Write a file atomically."""
        ...

    def read(self, path: str) -> bytes:
        """Return the content of a file; raise FileNotFoundError if it does not exist."""
        ...

    def open(self, path: str) -> BinaryIO:
        """Open a file for random access; raise FileNotFoundError if it does not exist."""
        ...

    def names(self, folder: str) -> list[str]:
        """Return the sorted names in a folder; empty if it does not exist."""
        ...

    def exists(self, path: str) -> bool:
        """Return whether a file exists."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file or folder if it exists."""
        ...
