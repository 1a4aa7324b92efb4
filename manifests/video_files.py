"""Manifests of video files in a folder or matched by a glob."""

from __future__ import annotations

import json
import posixpath

from manifests.file_tree import GLOB, FileTree
from manifests.problems import ManifestError, safe_text
from manifests.schema import VIDEOS
from manifests.table_files import FORMATS


def find_videos(videos: str) -> dict[str, str] | None:
    """Return video files in order: their locations, by their paths in the source; None if it is a manifest.

    Args:
        videos: folder, of which the files with suffixes of videos are found, glob, file, or manifest; see `FileTree`.

    Raises:
        ManifestError: `manifest_missing` or `manifest_unreadable`.
    """
    suffix = posixpath.splitext(videos)[1].lower()
    if suffix in FORMATS:
        return None
    is_named = suffix in VIDEOS or GLOB.search(videos)
    try:
        tree = FileTree(videos)
    except ManifestError:
        if is_named:
            raise
        return None
    names = [name for name in tree.names if tree.chosen or posixpath.splitext(name)[1].lower() in VIDEOS]
    return {tree.relative_path(name): tree.location(name) for name in names} if names or is_named else None


def build_video_manifest(videos: str) -> bytes | None:
    """Return a manifest of video files in JSON Lines, or None if the argument is a manifest.

    Record ids are paths relative to the common parent folder.

    Raises:
        ManifestError: `manifest_missing` if there are no videos, or `manifest_unreadable`.
    """
    found = find_videos(videos)
    if found is None:
        return None
    if not found:
        shown = safe_text(videos, 200)
        raise ManifestError("manifest_missing", f"{shown}: no video found; expected a folder, a glob or a manifest")
    common = posixpath.commonpath([posixpath.dirname(path) for path in found])
    rows = [{"record_id": posixpath.relpath(path, common), "video": location} for path, location in found.items()]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
