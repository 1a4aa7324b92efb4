"""Access to runs and files below one folder only, whatever paths and links say."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from joyvasa.errors import ConfigError
from joyvasa.runtime.locations import is_remote
from manifests.run.folder import RunFolder
from manifests.storage import LocalStorage
from pipelines.web.limits import Limits

REPORT_FILES = re.compile(r"report/(index\.html|metrics\.csv|metrics\.parquet)")  # in a run folder
VIDEOS = (".mp4", ".m4v", ".mov", ".webm")


class RunsRoot:
    """The local folder whose runs are shown.

    Raises:
        ConfigError: `root_invalid`.
    """

    def __init__(self, folder: str) -> None:
        if is_remote(folder):
            raise ConfigError("root_invalid", f"{folder}: is a URI; expected a local folder: mount or copy the runs")
        self.folder = Path(os.path.realpath(folder))
        if not self.folder.is_dir():
            raise ConfigError("root_invalid", f"{folder}: no such folder; expected one with runs: check the path")
        if not _is_utf8(str(self.folder)):
            raise ConfigError("root_invalid", f"{folder}: its path is not UTF-8, which browsers expect: rename it")

    def find(self, path: str) -> Path | None:
        """Return the real path of a file or folder below the root; None if it is missing or outside of the root.

        Args:
            path: path relative to the root; untrusted.
        """
        if "\0" in path or os.path.isabs(path):
            return None
        real = Path(os.path.realpath(self.folder / path))
        return real if real.is_relative_to(self.folder) and real.exists() else None

    def shown_file(self, path: str) -> Path | None:
        """Return a file that a browser may load: a video, or a file that `joyvasa report` wrote into a run folder."""
        file = self.find(path)
        if file is None or not file.is_file():
            return None

        is_report = REPORT_FILES.fullmatch("/".join(Path(path).parts[-2:])) and (file.parents[1] / "run.yaml").is_file()
        return file if is_report or file.suffix.lower() in VIDEOS else None

    def relative_path(self, location: str | Path) -> str | None:
        """Return the path of a local file relative to the root; None if it is outside of the root."""
        real = Path(os.path.realpath(location))
        return real.relative_to(self.folder).as_posix() if real.is_relative_to(self.folder) else None


class ConfinedStorage(LocalStorage):
    """Storage of a run folder that gives access to files below the root only.

    Args:
        root: folder that all files must be in.
        folder: run folder, relative to the root.
    """

    def __init__(self, root: RunsRoot, folder: str) -> None:
        super().__init__(str(root.folder / folder))
        self._root = root

    def path(self, path: str) -> Path:
        """Return the real path of a file; FileNotFoundError if it is missing or outside of the root."""
        file = self._root.find(os.path.relpath(os.path.join(self.root, path), self._root.folder))
        if file is None:
            raise FileNotFoundError(path)
        return file


@dataclass(frozen=True)
class ListedRun:
    """A run folder in the list of runs."""

    path: str  # path relative to the root; `.` is the root itself
    started: float  # time when its `run.yaml` was written, seconds since 1970


def find_runs(root: RunsRoot, limits: Limits) -> list[ListedRun]:
    """Return run folders, the newest first.

    Links are not followed, and run folders, hidden ones and those whose names are not UTF-8 are not searched.
    """
    return sorted(_iterate_runs(root, limits), key=lambda run: (-run.started, run.path))[: limits.runs]


def open_run(root: RunsRoot, path: str) -> RunFolder | None:
    """Open a run folder by its path relative to the root; return None if there is none."""
    folder = root.find(path)
    if folder is None or not (folder / RunFolder.RUN).is_file():
        return None
    return RunFolder(ConfinedStorage(root, path))


def _is_utf8(name: str) -> bool:
    """Return whether the name of a file can be sent to a browser."""
    return os.fsencode(name).decode("utf-8", "replace") == name


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
                if not name.startswith(".") and _is_utf8(name) and entry.is_dir(follow_symlinks=False)
            ]
        level = below
