"""Find the runs below the root."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from manifests.run.folder import RunFolder
from pipelines.web.confinement import ConfinedStorage, RunsRoot
from pipelines.web.limits import Limits


@dataclass(frozen=True)
class ListedRun:
    """A run folder in the list of runs."""

    path: str  # path relative to the root; `.` is the root itself
    started: float  # time when its `run.yaml` was written, seconds since 1970


def find_runs(root: RunsRoot, limits: Limits) -> list[ListedRun]:
    """Return run folders, the newest first; links are not followed, and run folders are not searched.

    Args:
        root: folder to search.
        limits: limits of the search.
    """
    return sorted(_iterate_runs(root, limits), key=lambda run: (-run.started, run.path))[: limits.runs]


def open_run(root: RunsRoot, path: str) -> RunFolder | None:
    """Open a run folder by its path relative to the root; return None if there is none."""
    folder = root.find(path)
    if folder is None or not (folder / RunFolder.RUN).is_file():
        return None
    return RunFolder(ConfinedStorage(root, path))


def _iterate_runs(root: RunsRoot, limits: Limits) -> Iterator[ListedRun]:
    level, searched = [""], 0
    for _ in range(limits.depth + 1):
        below: list[str] = []
        for path in level:
            searched += 1
            if searched > limits.folders:
                return
            try:
                entries = {entry.name: entry for entry in os.scandir(root.folder / path)}
                if RunFolder.RUN in entries and RunFolder.MANIFEST in entries:
                    yield ListedRun(path or ".", entries[RunFolder.RUN].stat().st_mtime)
                    continue
            except OSError:  # removed meanwhile, or not readable
                continue
            below += [
                os.path.join(path, name)
                for name, entry in sorted(entries.items())
                if not name.startswith(".") and entry.is_dir(follow_symlinks=False)
            ]
        level = below
