"""Suffixes of media files."""

from __future__ import annotations

import posixpath

IMAGES = frozenset(".avif .bmp .gif .hdr .jp2 .jpeg .jpg .pam .pfm .pgm .png .pnm .ppm .tif .tiff .webp".split())
SOUNDS = frozenset(".aac .aif .aiff .au .caf .flac .m4a .mka .mp3 .oga .ogg .opus .wav .wma".split())
VIDEOS = frozenset(".avi .flv .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .webm .wmv".split())
MOTIONS = frozenset({".safetensors"})
_COLUMNS = {"image": IMAGES, "audio": SOUNDS, "video": VIDEOS, "motion": MOTIONS}


def find_media_column(name: str) -> str | None:
    """Return the column of a manifest for files with the suffix of a name; None if it is no medium."""
    suffix = posixpath.splitext(name)[1].lower()
    return next((column for column, suffixes in _COLUMNS.items() if suffix in suffixes), None)
