"""Markers of finished shards, from which an interrupted export continues, and the list of checksums."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from joyvasa.runtime.files import PARTIAL
from joyvasa.runtime.parsing import parse_json
from manifests.problems import ManifestError, safe_text
from manifests.storage import Storage
from pipelines.runs.export.plan import PlannedShard
from pipelines.runs.selection.splits import SPLITS

STATE = ".export"  # folder of the markers; `datasets` and the hub ignore it
HEADER = f"{STATE}/export.json"
CHECKSUMS = "checksums.sha256"  # written last: without it, the data set is incomplete
INPUTS = "inputs"  # folder of portraits and recordings that are files of their own
MAX_NAME_BYTES = 255  # of file systems
LAYOUT = 2  # version of the layout of exported data sets


@dataclass(frozen=True)
class WrittenFile:
    """A file of the data set: its path within the data set, its size, and the hash of its content."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ExportMarkers:
    """Markers of an export folder."""

    storage: Storage  # folder of the data set

    def check_target(self, format: str) -> None:
        """Check that the folder is empty, or holds an export in the same format.

        Raises:
            ManifestError: `output_exists`.
        """
        shown = safe_text(self.storage.root, 200)
        names = [name for name in self.storage.names("") if not name.startswith(PARTIAL)]
        if not names:
            return
        try:
            header = parse_json(self.storage.read(HEADER))
            found = f"a data set in format {header['format']}, layout {header['layout']}"
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            header, found = None, f"other files, such as {safe_text(names[0])}"
        if header != {"format": format, "layout": LAYOUT}:
            sentence = (
                f"{shown}: holds {found}; expected a new folder, or one with an earlier export in format {format}"
            )
            raise ManifestError("output_exists", f"{sentence}: choose another folder")

    def begin(self, format: str) -> None:
        """Mark the folder as an incomplete export and remove files that a killed process left."""
        self.storage.remove(CHECKSUMS)
        for folder in ("", STATE, *SPLITS):
            for name in self.storage.names(folder):
                if name.startswith(PARTIAL):
                    self.storage.remove(f"{folder}/{name}" if folder else name)
        if not self.storage.exists(HEADER):
            self.storage.write(HEADER, json.dumps({"format": format, "layout": LAYOUT}).encode())

    def find_finished(self, shard: PlannedShard) -> list[WrittenFile] | None:
        """Return the files of a shard that was written from the same rows; None if it must be written."""
        marker = self._read(self._path(shard.split, shard.number))
        if marker is None or marker[0] != shard.digest:
            return None
        complete = all(self.storage.size(file.path) == file.bytes for file in marker[1])
        return marker[1] if complete else None

    def finish(self, shard: PlannedShard, files: Iterable[WrittenFile]) -> None:
        """Mark a shard as finished."""
        content = {"digest": shard.digest, "files": [asdict(file) for file in files]}
        self.storage.write(self._path(shard.split, shard.number), json.dumps(content).encode())

    def read_files(self, shard: PlannedShard) -> list[WrittenFile]:
        """Return the files of a finished shard."""
        marker = self._read(self._path(shard.split, shard.number))
        return marker[1] if marker else []

    def discard_outdated(self, shards: Mapping[str, Sequence[PlannedShard]]) -> None:
        """Remove the files of shards that the plan lacks or that have other rows; shared inputs stay."""
        for split in SPLITS:
            if split not in shards:
                for name in self.storage.names(split):
                    if name.startswith("metadata."):
                        self.storage.remove(f"{split}/{name}")
            digests = [shard.digest for shard in shards.get(split, ())]
            names = self.storage.names(f"{STATE}/{split}")
            stems = [name.removesuffix(".json") for name in names]
            for number in sorted(int(stem) for stem in stems if stem.isdecimal()):
                path = self._path(split, number)
                digest, files = self._read(path) or ("", [])
                if number < len(digests) and digest == digests[number]:
                    continue
                for file in files:
                    if not file.path.startswith(f"{INPUTS}/"):
                        self.storage.remove(file.path)
                self.storage.remove(path)

    def remove_inputs(self, is_unused: Callable[[str], bool]) -> None:
        """Remove portraits and recordings that are not part of the data set."""
        for kind in self.storage.names(INPUTS):
            for prefix in self.storage.names(f"{INPUTS}/{kind}"):
                for name in self.storage.names(f"{INPUTS}/{kind}/{prefix}"):
                    path = f"{INPUTS}/{kind}/{prefix}/{name}"
                    if is_unused(path):
                        self.storage.remove(path)

    def _path(self, split: str, number: int) -> str:
        return f"{STATE}/{split}/{number:05d}.json"

    def _read(self, path: str) -> tuple[str, list[WrittenFile]] | None:
        try:
            content = parse_json(self.storage.read(path))
            files = [WrittenFile(**values) for values in content["files"]]
            usable = [file for file in files if _is_inside(file.path)]
            return content["digest"] if len(usable) == len(files) else "", usable  # without a digest: outdated
        except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
            return None


def format_checksums(files: Iterable[WrittenFile]) -> Iterator[bytes]:
    """Yield the lines of `checksums.sha256`, which `sha256sum -c` reads."""
    for file in files:
        yield f"{file.sha256}  {file.path}\n".encode()


def _is_inside(path: object) -> bool:
    """Return whether a path names a file that an export may have written."""
    if not isinstance(path, str) or "\\" in path or "\x00" in path:
        return False
    parts = path.split("/")
    is_name = (part not in ("", ".", "..") and len(os.fsencode(part)) <= MAX_NAME_BYTES for part in parts)
    return parts[0] != STATE and all(is_name)
