"""Manifests of video files in a folder or matched by a glob."""

from __future__ import annotations

import json
import posixpath
from pathlib import Path

from joyvasa.runtime.locations import get_local_path, is_remote, open_filesystem
from manifests.problems import ManifestError, safe_text
from manifests.schema import VIDEOS
from manifests.table_files import FORMATS


def is_video_source(videos: str) -> bool:
    """Return whether an argument is a folder with videos, a glob or a video file, and not a manifest."""
    suffix = posixpath.splitext(videos)[1].lower()
    if suffix in FORMATS:
        return False
    if suffix in VIDEOS or _is_glob(videos):
        return True
    return bool(find_videos(videos))


def find_videos(videos: str) -> list[str]:
    """Return the locations of video files, sorted, as absolute local paths or URIs.

    Args:
        videos: folder, which is searched recursively except for hidden files and folders, glob, or file.
    """
    fs, path = open_filesystem(videos if is_remote(videos) else Path(get_local_path(videos)).expanduser().as_posix())
    if _is_glob(videos) and not fs.exists(path):
        names = [name for name in fs.glob(path) if not fs.isdir(name)]
    elif fs.isdir(path):
        names = [name for name in fs.find(path) if posixpath.splitext(name)[1].lower() in VIDEOS]
        names = [name for name in names if "/." not in name.removeprefix(path)]
    else:
        names = [path] if fs.exists(path) else []
    return sorted(fs.unstrip_protocol(name) if is_remote(videos) else name for name in names)


def build_video_manifest(videos: str) -> bytes:
    """Return a manifest of video files in JSON Lines; record ids are paths relative to the common parent folder.

    Raises:
        ManifestError: `manifest_missing` if there are no videos.
    """
    locations = find_videos(videos)
    if not locations:
        shown = safe_text(videos, 200)
        raise ManifestError("manifest_missing", f"{shown}: no video found; expected a folder, a glob or a manifest")
    common = posixpath.commonpath([posixpath.dirname(name) for name in locations])
    rows = [{"record_id": posixpath.relpath(name, common), "video": name} for name in locations]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _is_glob(text: str) -> bool:
    return any(character in text for character in "*?[")
