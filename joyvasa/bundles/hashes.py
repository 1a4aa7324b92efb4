"""SHA-256 of large files, computed once for each state of a file."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from joyvasa.runtime.files import atomic_write, hash_file


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
        value = hash_file(file)
        self.remember(file, value, stamp)
        return value

    def remember(self, file: Path, sha256: str, stamp: list[int] | None = None) -> None:
        """Notes the hash of a file that was just computed elsewhere."""
        if stamp is None:
            state = file.stat()
            stamp = [state.st_size, state.st_mtime_ns, state.st_ino]
        entries = self._read() | {str(file.resolve()): [*stamp, sha256]}
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(self.path, json.dumps(entries, indent=1).encode())

    def _read(self) -> dict[str, object]:
        try:
            entries = json.loads(self.path.read_bytes())
        except (OSError, ValueError):
            return {}
        return entries if isinstance(entries, dict) else {}
