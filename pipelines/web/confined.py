"""Paths that stay below one folder, whatever they say and whatever links lie there."""

from __future__ import annotations

import os
import re
from pathlib import Path

from joyvasa.errors import ConfigError
from manifests.manifest import is_remote
from manifests.storage import LocalStorage

SHOWN = re.compile(r"report/(index\.html|metrics\.csv|metrics\.parquet)")  # of a run folder
VIDEOS = (".mp4", ".m4v", ".mov", ".webm")


class Root:
    """The folder whose runs are shown.

    Args:
        folder: local.

    Raises:
        ConfigError: `root_invalid`.
    """

    def __init__(self, folder: str) -> None:
        if is_remote(folder):
            raise ConfigError("root_invalid", f"{folder}: is a URI; expected a local folder: mount or copy the runs")
        self.folder = Path(os.path.realpath(folder))
        if not self.folder.is_dir():
            raise ConfigError("root_invalid", f"{folder}: no such folder; expected one with runs: check the path")

    def find(self, path: str) -> Path | None:
        """A file or folder below the root, with all links followed; None if it is not there or leads elsewhere.

        Args:
            path: relative to the root, from anybody.
        """
        if "\0" in path or os.path.isabs(path):
            return None
        real = Path(os.path.realpath(self.folder / path))
        return real if real.is_relative_to(self.folder) and real.exists() else None

    def shown_file(self, path: str) -> Path | None:
        """A file that a browser may have: a video, or what `joyvasa report` wrote into a run folder."""
        found = self.find(path)
        if found is None or not found.is_file():
            return None
        parts = Path(path).parts
        report = SHOWN.fullmatch("/".join(parts[-2:])) and (found.parent.parent / "run.yaml").is_file()
        return found if report or found.suffix.lower() in VIDEOS else None

    def address(self, location: str | Path) -> str | None:
        """The path below the root of a local file, as `find` takes it; None if it lies elsewhere."""
        real = Path(os.path.realpath(location))
        return real.relative_to(self.folder).as_posix() if real.is_relative_to(self.folder) else None


class ConfinedStorage(LocalStorage):
    """A run folder that is read only as far as its files lie below the root.

    Args:
        root: below which all must lie.
        folder: of the run, relative to it.
    """

    def __init__(self, root: Root, folder: str) -> None:
        super().__init__(str(root.folder / folder))
        self._root = root

    def path(self, path: str) -> Path:
        """The file as a path; FileNotFoundError if it is not there, or leads out of the root."""
        relative = os.path.relpath(os.path.join(self.root, path), self._root.folder)
        found = self._root.find(relative)
        if found is None:
            raise FileNotFoundError(path)
        return found
