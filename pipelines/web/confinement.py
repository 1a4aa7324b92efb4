"""Access to files below one folder only, whatever paths and links say."""

from __future__ import annotations

import os
import re
from pathlib import Path

from joyvasa.errors import ConfigError
from joyvasa.runtime.locations import is_remote
from manifests.storage import LocalStorage

REPORT_FILES = re.compile(r"report/(index\.html|metrics\.csv|metrics\.parquet)")  # in a run folder
VIDEOS = (".mp4", ".m4v", ".mov", ".webm")


class RunsRoot:
    """The folder whose runs are shown.

    Args:
        folder: local folder.

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
