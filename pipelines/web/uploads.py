"""The temporary folder for uploads and videos."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from joyvasa.errors import InputError
from joyvasa.media.audio import SAMPLE_RATE, stream_audio
from pipelines.web.limits import MIB, Limits

CHECK_S = 5.0  # interval between measurements of the size of the folder


class Uploads:
    """Uploaded files, in a temporary folder that the caller removes."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder = Path(os.path.realpath(folder))
        self._limits = limits
        self._measured, self._bytes = float("-inf"), 0

    def has_room(self) -> bool:
        """Return whether another upload is accepted."""
        if time.monotonic() - self._measured > CHECK_S:
            self._bytes = sum(_size(Path(base, name)) for base, _, names in os.walk(self.folder) for name in names)
            self._measured = time.monotonic()
        return self._bytes + self._limits.upload_bytes <= self._limits.uploads_bytes

    def new_folder(self) -> Path:
        """Create a folder for a job, which removes it."""
        return Path(tempfile.mkdtemp(prefix="job-", dir=self.folder))

    def contains(self, path: str) -> bool:
        """Return whether a path is a file in this folder."""
        if "\0" in path:
            return False
        real = Path(os.path.realpath(path))
        return real.is_relative_to(self.folder) and real.is_file()

    def find(self, upload: Any, what: str) -> Path:
        """Return the file of an upload.

        Args:
            upload: upload as the browser states it, a mapping with `path`; untrusted.
            what: kind of the file, for errors.

        Raises:
            InputError: `upload_missing` or `upload_too_large`.
        """
        path = upload.get("path") if isinstance(upload, Mapping) else None
        if not isinstance(path, str) or not path:
            raise InputError("upload_missing", f"there is no {what} yet: choose one, or select an example")
        if not self.contains(path):
            raise InputError("upload_missing", f"the {what} was removed: choose it again")
        size = Path(path).stat().st_size
        if size > self._limits.upload_bytes:
            found = f"{Path(path).name}: has {size / MIB:.0f} MiB"
            raise InputError("upload_too_large", f"{found}; expected at most {self._limits.upload_bytes / MIB:.0f} MiB")
        return Path(path)

    def store(self, upload: Any, target: Path, what: str) -> Path:
        """Copy an upload for a job, under a name that does not depend on the visitor.

        Args:
            upload: see `find`.
            target: path of the copy, which gets the suffix of the upload.
            what: kind of the file, for errors.

        Raises:
            InputError: see `find`.
        """
        source = self.find(upload, what)
        suffix = "".join(character for character in source.suffix[:12] if character.isalnum())
        copy = target.with_suffix(f".{suffix}") if suffix else target
        shutil.copyfile(source, copy)
        return copy

    def check_length(self, sound: Path) -> float:
        """Return the duration of a recording; decoding stops at the limit.

        Raises:
            InputError: `upload_too_long`, and the errors of `joyvasa.media.audio.stream_audio`.
        """
        n_samples = 0
        for block in stream_audio(sound):
            n_samples += len(block)
            if n_samples > self._limits.sound_s * SAMPLE_RATE:
                found = f"{sound}: is longer than {self._limits.sound_s:g} s"
                raise InputError("upload_too_long", f"{found}, the limit of this page: cut it, or use joyvasa animate")
        return n_samples / SAMPLE_RATE


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:  # removed meanwhile
        return 0


def original_name(upload: Any, default: str) -> str:
    """Return the name of an upload on the visitor's machine.

    Args:
        upload: upload as the browser states it; untrusted.
        default: name of uploads without a printable one.
    """
    path = upload.get("orig_name") if isinstance(upload, Mapping) else None
    name = Path(path).name if isinstance(path, str) else ""
    return name if name and name.isprintable() else default
