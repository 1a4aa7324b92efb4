"""Files that training never saw, and which of them are looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from joyvasa.sample.training.pictures import PICTURES, held_out

SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".m4a")
VIDEOS = (".mp4", ".mov", ".webm")


@dataclass(frozen=True)
class Inputs:
    """What may be measured with, each in a fixed order that no name was chosen for."""

    portraits: tuple[Path, ...]
    speech: tuple[Path, ...]
    videos: tuple[Path, ...]


def unseen_inputs(media: Path, others: Sequence[Path] = ()) -> Inputs:
    """The held-out files of the training media, and all files of other folders.

    Args:
        media: folder that the bundle was trained from, with portraits/, speech/ and videos/; what is not there is
            empty.
        others: folders of the same shape, nothing of which was trained on.
    """

    def files(kind: str, suffixes: Sequence[str]) -> tuple[Path, ...]:
        own = [path for path in _files(media / kind, suffixes) if held_out(path.name)]
        unseen = [path for other in others for path in _files(other / kind, suffixes)]
        return tuple(sorted([*own, *unseen], key=lambda path: (_drawn(path.name), path)))

    return Inputs(files("portraits", PICTURES), files("speech", SOUNDS), files("videos", VIDEOS))


def _files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    return [path for path in folder.glob("*") if path.suffix.lower() in suffixes]


def _drawn(name: str) -> str:
    """Orders names at random, and always in the same way."""
    return hashlib.sha256(f"quality {name}".encode()).hexdigest()
