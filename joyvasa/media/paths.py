"""Checks of the files of an animation before PyTorch is imported, which takes more than a second."""

from __future__ import annotations

import contextlib
from pathlib import Path

from joyvasa.errors import InputError
from joyvasa.media.ffmpeg import check_media
from joyvasa.media.image import check_file
from joyvasa.media.video_writer import check_output_path


def check_paths(image: str | Path, audio: str | Path | None, output: Path, *, motion: str | Path | None = None) -> None:
    """Check the files of `Animator.animate`.

    Raises:
        InputError: `motion_missing`, `image_missing`, `audio_missing` or another reason why an input cannot be read.
        OutputError: `output_unwritable`, `disk_full` or `output_is_input`.
    """
    check_output_path(output, [Path(path) for path in (image, audio, motion) if path is not None])
    if audio is None and motion is None:
        raise InputError("motion_missing", "neither a recording nor a motion; expected one of them: name a file")
    with contextlib.suppress(OSError, ValueError):  # reported by the reader
        check_file(Path(image))
    if audio is not None:
        check_media(Path(audio), "audio")
