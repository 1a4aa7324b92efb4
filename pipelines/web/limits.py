"""Limits of what the page accepts and stores."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of disk, memory and queue; none of them grows with the number of visitors.

    Attributes:
        upload_bytes: largest upload.
        uploads_bytes: size of the temporary folder above which uploads are refused.
        upload_age_s: age at which an upload is removed.
        sound_s: longest recording.
        max_waiting: pairs in the queue.
        results: finished videos to keep for each browser, which shows them side by side.
        max_finished: finished videos to keep for all browsers; older ones are removed.
        runs: listed run folders.
        folders: folders searched for runs.
        depth: depth below the root to which runs are searched for.
        column_bytes: memory for cached columns of runs.
        poster_bytes: memory for posters of videos.
        gallery, table: records per page.
    """

    upload_bytes: int = 64 * MIB
    uploads_bytes: int = 4096 * MIB
    upload_age_s: int = 3600
    sound_s: float = 300.0
    max_waiting: int = 16
    results: int = 6
    max_finished: int = 32
    runs: int = 500
    folders: int = 20_000
    depth: int = 4
    column_bytes: int = 256 * MIB
    poster_bytes: int = 32 * MIB
    gallery: int = 12
    table: int = 50
