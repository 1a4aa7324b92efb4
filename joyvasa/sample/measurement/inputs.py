"""Files that training never used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from joyvasa.sample.training.training_media import PICTURES, is_held_out

SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".m4a")
VIDEOS = (".mp4", ".mov", ".webm")


@dataclass(frozen=True)
class UnseenInputs:
    """Files to measure with, each kind in a fixed pseudo-random order."""

    portraits: tuple[Path, ...]
    speech: tuple[Path, ...]
    videos: tuple[Path, ...]


def find_unseen_inputs(media: Path, others: Sequence[Path] = ()) -> UnseenInputs:
    """Return the held-out files of the training media, and all files of other folders.

    Args:
        media: folder that the bundle was trained from, with portraits/, speech/ and videos/, each of which may be
            missing.
        others: folders of the same layout that training did not use.
    """

    def files(kind: str, suffixes: Sequence[str]) -> tuple[Path, ...]:
        own = [path for path in _files(media / kind, suffixes) if is_held_out(path.name)]
        unseen = [path for other in others for path in _files(other / kind, suffixes)]
        # pseudo-random, and always the same
        return tuple(sorted([*own, *unseen], key=lambda path: (sha256(f"quality {path.name}".encode()).digest(), path)))

    return UnseenInputs(files("portraits", PICTURES), files("speech", SOUNDS), files("videos", VIDEOS))


def _files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    return [path for path in folder.glob("*") if path.suffix.lower() in suffixes]
