"""Media in containers: members of tar and zip archives, and cells of tables."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, cast

from joyvasa.errors import InputError
from manifests.cells import SCHEME as CELL
from manifests.tar_members import BoundedTarInfo, iterate_members

SCHEMES = ("tar", "zip", CELL)
OPEN_ARCHIVES = 4  # archives per process whose list of members is kept; one of 100,000 members takes about 20 MB
_COMPRESSION: Mapping[bytes, Any] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
BAD_ARCHIVE = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError, NotImplementedError)


def find_decompressor(archive: Path) -> Callable[[Path], BinaryIO] | None:
    """Return the function that opens a compressed tar archive for reading; None if it is not compressed."""
    with archive.open("rb") as file:
        head = file.read(6)
    return next((opener for magic, opener in _COMPRESSION.items() if head.startswith(magic)), None)


@contextmanager
def open_member(scheme: str, member: str, archive: Path, location: str) -> Generator[tuple[BinaryIO, int]]:
    """Yield a member of an archive as a stream, and its size in bytes.

    Args:
        scheme: `tar` or `zip`.
        member: name of the member.
        archive: local file; not a compressed tar archive.
        location: location of the member, for messages.

    Raises:
        InputError: `file_missing`, or `archive_unreadable` if the archive is damaged or encrypted.
        OSError: the archive cannot be read.
    """
    status = archive.stat()
    try:
        opened = _open_archive(scheme, archive, status.st_mtime_ns, status.st_size)
        size = opened.find(member)
        if size is None:
            sentence = f"{location}: the archive has no such file; expected a member: check its name"
            raise InputError("file_missing", sentence)
        with opened.open(member) as stream:
            yield stream, size
    except BAD_ARCHIVE as error:
        raise unreadable_archive(location, error) from error


def unreadable_archive(location: str, error: Exception) -> InputError:
    """Return the error for an archive or a table that is damaged."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return InputError("archive_unreadable", f"{location}: cannot be read ({reason}): make the archive again")


class _TarArchive:
    """Finds members of a tar archive that is not compressed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._members: dict[str, tuple[int, int]] = {}  # offset and size of regular files
        with tarfile.open(path, "r:", tarinfo=BoundedTarInfo) as tar:
            for entry in iterate_members(tar):
                self._members[_clean(entry.name)] = entry.offset_data, entry.size

    def find(self, member: str) -> int | None:
        return self._members.get(_clean(member), (0, None))[1]

    @contextmanager
    def open(self, member: str) -> Generator[BinaryIO]:
        with self._path.open("rb") as file:
            file.seek(self._members[_clean(member)][0])
            yield file


class _ZipArchive:
    """Finds members of a zip archive."""

    def __init__(self, path: Path) -> None:
        self._zip = zipfile.ZipFile(path)

    def find(self, member: str) -> int | None:
        try:
            return self._zip.getinfo(member).file_size
        except KeyError:
            return None

    @contextmanager
    def open(self, member: str) -> Generator[BinaryIO]:
        try:
            stream = self._zip.open(member)
        except RuntimeError as error:  # encrypted
            raise zipfile.BadZipFile(str(error)) from None
        except OSError as error:
            if error.errno != errno.EINVAL:  # an offset outside of the file
                raise
            raise zipfile.BadZipFile("an offset lies outside of the archive") from None
        with stream:
            yield cast(BinaryIO, stream)


@lru_cache(OPEN_ARCHIVES)
def _open_archive(scheme: str, path: Path, _modified_ns: int, _size: int) -> _TarArchive | _ZipArchive:
    return _TarArchive(path) if scheme == "tar" else _ZipArchive(path)


def _clean(name: str) -> str:
    return name.removeprefix("./")
