"""SHA-256 of large files, computed once for each state of a file."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

CHUNK_BYTES = 1 << 20


def sha256_of(path: Path) -> str:
    """Hash of a file's content, read in pieces.

    Args:
        path: the file.

    Returns:
        64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@dataclass(frozen=True)
class HashCache:
    """Remembers hashes by path, size and time of change, in one small JSON file.

    The file saves time and nothing depends on it: where it cannot be read or written, hashes are computed.

    Args:
        path: the JSON file.
    """

    path: Path

    def sha256(self, file: Path) -> str:
        """Hash of a file, computed only if size or time of change differ from the last time."""
        state = file.stat()
        stamp = [state.st_size, state.st_mtime_ns, state.st_ino]
        known = self._read().get(str(file.resolve()))
        if isinstance(known, list) and known[:3] == stamp and len(known) == 4:
            return str(known[3])
        value = sha256_of(file)
        self.remember(file, value, stamp)
        return value

    def remember(self, file: Path, sha256: str, stamp: list[int] | None = None) -> None:
        """Notes the hash of a file that was just computed elsewhere."""
        if stamp is None:
            state = file.stat()
            stamp = [state.st_size, state.st_mtime_ns, state.st_ino]
        entries = self._read() | {str(file.resolve()): [*stamp, sha256]}
        with suppress(OSError):
            write_atomically(self.path, json.dumps(entries, indent=1).encode())

    def _read(self) -> dict[str, object]:
        try:
            entries = json.loads(self.path.read_bytes())
        except (OSError, ValueError):
            return {}
        return entries if isinstance(entries, dict) else {}


def write_atomically(path: Path, data: bytes) -> None:
    """Writes a small file so that it is seen whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Makes renames in a folder durable, where the system can."""
    with suppress(OSError):  # Windows cannot open folders
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
