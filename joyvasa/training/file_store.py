"""What training asks of the place where a data set or a run lies."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol


class FileStore(Protocol):
    """Files below one root, named by relative paths with forward slashes; they appear whole or not at all."""

    root: str
    local: bool  # whether the root is a path of this machine

    def location(self, path: str) -> str:
        """The local path or URI of a file, for messages."""
        ...

    def staging(self, path: str) -> AbstractContextManager[Path]:
        """A local file to write; it becomes `path` in one step when the block ends without an exception."""
        ...

    def write(self, path: str, content: bytes) -> None:
        """Puts a whole file in place."""
        ...

    def read(self, path: str) -> bytes:
        """The bytes of a file; FileNotFoundError if it is not there."""
        ...

    def open(self, path: str) -> BinaryIO:
        """Opens a file for reading at any place; FileNotFoundError if it is not there."""
        ...

    def names(self, folder: str) -> list[str]:
        """Names in a folder, sorted; none if it is not there."""
        ...

    def exists(self, path: str) -> bool:
        """Whether a file is there."""
        ...

    def remove(self, path: str) -> None:
        """Removes a file or folder; nothing happens if it is not there."""
        ...
