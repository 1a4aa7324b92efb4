"""What the page accepts, and how much it keeps."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Bounds of disk, memory and waiting; none of them grows with the number of visitors.

    Attributes:
        upload_bytes: of one file.
        uploads_bytes: of all files in the temporary folder, from where on nothing more is taken.
        upload_age_s: after which an upload is removed.
        sound_s: of a recording.
        waiting: pairs that may wait at once.
        kept: finished videos; older ones are removed.
        runs: run folders that are listed.
        folders: that are looked through for them.
        depth: of folders below the root in which runs are looked for.
        column_bytes: of columns of runs that are kept in memory.
        gallery, table: records on one page of them.
    """

    upload_bytes: int = 64 * MIB
    uploads_bytes: int = 4096 * MIB
    upload_age_s: int = 3600
    sound_s: float = 300.0
    waiting: int = 16
    kept: int = 32
    runs: int = 500
    folders: int = 20_000
    depth: int = 4
    column_bytes: int = 256 * MIB
    gallery: int = 12
    table: int = 50
