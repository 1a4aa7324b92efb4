"""Sample media for tests: real files of `tests/data/media`, and small ones made with ffmpeg."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

import pytest

from joyvasa.media.ffmpeg import ffmpeg_executable

DATA = Path(__file__).parent / "data"
MEDIA = DATA / "media"
# Larger sets, which the repository does not hold: `../shared/media`, or the folder in JOYVASA_SHARED.
MORE_MEDIA = Path(os.environ.get("JOYVASA_SHARED") or Path(__file__).parents[2] / "shared") / "media"
needs_more_media = pytest.mark.skipif(not MORE_MEDIA.is_dir(), reason=f"sample media not found at {MORE_MEDIA}")
EXAMPLES = Path(__file__).parents[1] / "manifests/examples"


def ffmpeg(*arguments: object) -> None:
    """Run ffmpeg quietly, to create test files."""
    subprocess.run([ffmpeg_executable(), "-y", "-v", "error", *map(str, arguments)], check=True)


def write_tone(path: Path, *, seconds: float = 1.0, volume: float = 0.5, rate: int = 16_000, channels: int = 1) -> Path:
    """Write a sine of 220 Hz in the format of the file's suffix."""
    source = (
        f"sine=frequency=220:sample_rate={rate}:duration={seconds},volume={volume * 8}"  # ffmpeg's sine peaks at 1/8
    )
    ffmpeg("-f", "lavfi", "-i", source, "-ac", channels, path)
    return path


def fill_disk(folder: Path) -> None:
    """Fill the file system of a folder."""
    with (folder / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
