"""Limits of what the page accepts and stores."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of disk, memory and queue; none of them grows with the number of visitors."""

    upload_bytes: int = 64 * MIB  # largest upload
    uploads_bytes: int = 4096 * MIB  # size of the temporary folder above which uploads are refused
    upload_age_s: int = 3600  # age at which an upload is removed
    sound_s: float = 300.0  # longest recording
    max_waiting: int = 16  # pairs in the queue
    results: int = 6  # finished videos to keep for each browser, which shows them side by side
    max_finished: int = 32  # finished videos to keep for all browsers; older ones are removed
    runs: int = 500  # listed run folders
    folders: int = 20_000  # folders searched for runs
    depth: int = 4  # depth below the root to which runs are searched for
    column_bytes: int = 256 * MIB  # memory for cached columns of runs
    poster_bytes: int = 32 * MIB  # memory for posters of videos
    # gallery, table: records per page
    gallery: int = 12
    table: int = 50
