"""Headers of tar archives, with a limit on what is read into memory."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import Any

MAX_HEADER_BYTES = 1 << 20  # of a long name or of extended attributes, which `tarfile` reads as a whole
_HEADERS = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE)


class BoundedTarInfo(tarfile.TarInfo):
    """Header of a member; one that claims a huge name or huge attributes is refused.

    Raises:
        tarfile.ReadError: the header is too large.
    """

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        if self.type in (*_HEADERS, tarfile.SOLARIS_XHDTYPE) and self.size > MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {self.size} bytes; expected at most {MAX_HEADER_BYTES}")
        return super()._proc_member(archive)  # type: ignore[misc]


def iterate_members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the regular files of an archive that was opened with `BoundedTarInfo`; they are not kept in memory."""
    while entry := tar.next():
        tar.members = []  # type: ignore[attr-defined]
        if entry.isreg() and not entry.issparse():
            yield entry
