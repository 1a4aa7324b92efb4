"""Which runs lie below the root."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from manifests.run.folder import RunFolder
from pipelines.web.confined import ConfinedStorage, Root
from pipelines.web.limits import Limits


@dataclass(frozen=True)
class FoundRun:
    """A run folder.

    Attributes:
        path: below the root; `.` is the root itself.
        begun: when its `run.yaml` was written, seconds since 1970.
    """

    path: str
    begun: float


def find_runs(root: Root, limits: Limits) -> list[FoundRun]:
    """Run folders, the newest first; links are not followed, and nothing is looked for within a run.

    Args:
        root: below which they lie.
        limits: how far is looked.
    """
    found = list(_runs(root, limits))
    return sorted(found, key=lambda run: (-run.begun, run.path))[: limits.runs]


def open_run(root: Root, path: str) -> RunFolder | None:
    """A run folder by its path below the root, as `find_runs` gives it; None if there is none."""
    found = root.find(path)
    if found is None or not (found / RunFolder.RUN).is_file():
        return None
    return RunFolder(ConfinedStorage(root, path))


def _runs(root: Root, limits: Limits) -> Iterator[FoundRun]:
    level, seen = [""], 0
    for _ in range(limits.depth + 1):
        below: list[str] = []
        for path in level:
            seen += 1
            if seen > limits.folders:
                return
            try:
                entries = {entry.name: entry for entry in os.scandir(root.folder / path)}
                if RunFolder.RUN in entries and RunFolder.MANIFEST in entries:
                    yield FoundRun(path or ".", entries[RunFolder.RUN].stat().st_mtime)
                    continue
            except OSError:  # gone meanwhile, or not to be read
                continue
            below += [
                os.path.join(path, name)
                for name, entry in sorted(entries.items())
                if not name.startswith(".") and entry.is_dir(follow_symlinks=False)
            ]
        level = below
