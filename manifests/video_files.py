"""Manifests of video files in a folder or matched by a glob."""

from __future__ import annotations

import json
import posixpath
from contextlib import suppress

from manifests.file_tree import GLOB, FileTree
from manifests.problems import ManifestError, safe_text
from manifests.schema import VIDEOS
from manifests.table_files import FORMATS


def is_video_source(videos: str) -> bool:
    """Return whether an argument is a folder with videos, a glob or a video file, and not a manifest."""
    suffix = posixpath.splitext(videos)[1].lower()
    if suffix in FORMATS or suffix in VIDEOS or GLOB.search(videos):
        return suffix not in FORMATS
    with suppress(ManifestError):
        return bool(find_videos(videos))
    return False


def find_videos(videos: str) -> dict[str, str]:
    """Return video files in order: their locations, by their paths in the source.

    Args:
        videos: folder, of which the files with suffixes of videos are found, glob, or file; see `FileTree`.

    Raises:
        ManifestError: `manifest_missing` or `manifest_unreadable`.
    """
    tree = FileTree(videos)
    names = [name for name in tree.names if tree.chosen or posixpath.splitext(name)[1].lower() in VIDEOS]
    return {tree.relative_path(name): tree.location(name) for name in names}


def build_video_manifest(videos: str) -> bytes:
    """Return a manifest of video files in JSON Lines; record ids are paths relative to the common parent folder.

    Raises:
        ManifestError: `manifest_missing` if there are no videos, or `manifest_unreadable`.
    """
    found = find_videos(videos)
    if not found:
        shown = safe_text(videos, 200)
        raise ManifestError("manifest_missing", f"{shown}: no video found; expected a folder, a glob or a manifest")
    common = posixpath.commonpath([posixpath.dirname(path) for path in found])
    rows = [{"record_id": posixpath.relpath(path, common), "video": location} for path, location in found.items()]
    return "".join(json.dumps(row) + "\n" for row in rows).encode()
