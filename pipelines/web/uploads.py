"""The temporary folder: uploads while they are needed, videos while they are looked at; gone at the end."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

from joyvasa.errors import InputError
from joyvasa.media.audio import SAMPLE_RATE, stream_audio
from pipelines.web.limits import MIB, Limits

CHECK_S = 5.0  # between two looks at how full the folder is


class Uploads:
    """Files that visitors sent.

    Args:
        folder: temporary; the caller removes it.
        limits: of sizes.
    """

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder = Path(os.path.realpath(folder))
        self._limits = limits
        self._measured, self._bytes = float("-inf"), 0

    def has_room(self) -> bool:
        """Whether another upload may be taken."""
        if time.monotonic() - self._measured > CHECK_S:
            self._bytes = sum(_size(Path(base, name)) for base, _, names in os.walk(self.folder) for name in names)
            self._measured = time.monotonic()
        return self._bytes + self._limits.upload_bytes <= self._limits.uploads_bytes

    def new_folder(self) -> Path:
        """A folder for one job, which removes it."""
        return Path(tempfile.mkdtemp(prefix="job-", dir=self.folder))

    def holds(self, path: str) -> bool:
        """Whether a path is that of a file in this folder."""
        if "\0" in path:
            return False
        real = Path(os.path.realpath(path))
        return real.is_relative_to(self.folder) and real.is_file()

    def take(self, path: str | None, target: Path, what: str) -> Path:
        """Keeps an upload for a job, under a name that the visitor did not choose.

        Args:
            path: of the upload, as the browser names it.
            target: in whose folder it is kept; gets the suffix of the upload.
            what: it is, in words.

        Raises:
            InputError: `upload_missing` or `upload_too_large`.
        """
        if not path:
            raise InputError("upload_missing", f"there is no {what} yet: choose one, or take an example")
        if not self.holds(path):
            raise InputError("upload_missing", f"the {what} is not here any more: choose it again")
        source = Path(path)
        size = source.stat().st_size
        if size > self._limits.upload_bytes:
            found = f"{source.name}: has {size / MIB:.0f} MiB"
            raise InputError("upload_too_large", f"{found}; expected at most {self._limits.upload_bytes / MIB:.0f} MiB")
        suffix = "".join(character for character in source.suffix[:8] if character.isalnum())
        kept = target.with_suffix(f".{suffix}") if suffix else target
        shutil.copyfile(source, kept)
        return kept

    def check_length(self, sound: Path) -> float:
        """Seconds of a recording, which is decoded no further than it may be long.

        Raises:
            InputError: `upload_too_long`, or as `joyvasa.media.audio.stream_audio`.
        """
        n_samples = 0
        for block in stream_audio(sound):
            n_samples += len(block)
            if n_samples > self._limits.sound_s * SAMPLE_RATE:
                found = f"{sound}: is longer than {self._limits.sound_s:g} s"
                raise InputError("upload_too_long", f"{found}, the most that this page takes: cut it, or use animate")
        return n_samples / SAMPLE_RATE


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:  # removed meanwhile
        return 0
