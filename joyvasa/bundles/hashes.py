"""Cache of the SHA-256 hashes of large files."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from joyvasa.runtime.files import atomic_write, hash_file
from joyvasa.runtime.parsing import parse_json


@dataclass(frozen=True)
class HashCache:
    """Cache file hashes by path, size, modification time and inode in a JSON file.

    If the JSON file cannot be read or written, hashes are computed each time.
    """

    path: Path  # path of the JSON file

    def sha256(self, file: Path) -> str:
        """Return the hash of a file; computed only if the file changed since the last call."""
        stamp = _file_stamp(file)
        entry = self._read().get(str(file.resolve()))
        if isinstance(entry, list) and entry[:3] == stamp and len(entry) == 4:
            return str(entry[3])
        value = hash_file(file)
        self.remember(file, value, stamp)
        return value

    def remember(self, file: Path, sha256: str, stamp: list[int] | None = None) -> None:
        """Store the hash of a file; `stamp` is the state of the file before it was hashed, if it may have changed."""
        entries = self._read() | {str(file.resolve()): [*(stamp or _file_stamp(file)), sha256]}
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(self.path, json.dumps(entries, indent=1).encode())

    def _read(self) -> dict[str, object]:
        try:
            entries = parse_json(self.path.read_bytes())
        except (OSError, ValueError):
            return {}
        return entries if isinstance(entries, dict) else {}


def _file_stamp(file: Path) -> list[int]:
    state = file.stat()
    return [state.st_size, state.st_mtime_ns, state.st_ino]
