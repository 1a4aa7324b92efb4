"""Access to the media files of a row, local or remote."""

from __future__ import annotations

import errno
import os
import posixpath
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from fsspec.core import url_to_fs

from joyvasa.errors import InputError
from manifests.manifest import is_remote
from manifests.scratch import scratch_folder

MAX_BYTES = 4 << 30  # maximum size of a fetched file, so that one row cannot fill the disk
CHUNK_BYTES = 1 << 20


@contextmanager
def local_file(location: str) -> Generator[Path]:
    """Yield a local path of a file; a remote file is downloaded, and removed when the block ends.

    Args:
        location: absolute local path or URI.

    Raises:
        InputError: `file_missing` or `file_too_large`, for a URI. A missing local file is reported by its reader.
        OSError: the download failed; a retry may help.
    """
    if not is_remote(location):
        yield Path(location)
        return
    with scratch_folder() as folder:
        name = posixpath.basename(location)[-64:]  # shown in error messages
        target = Path(folder, name if name.strip(".") else "file")

        with _standard_errors(location):
            fs, path = url_to_fs(location)
            with fs.open(path, "rb") as source, target.open("wb") as file:
                while chunk := cast(BinaryIO, source).read(CHUNK_BYTES):
                    file.write(chunk)
                    if file.tell() > MAX_BYTES:
                        size = f"more than {MAX_BYTES >> 30} GiB"
                        raise InputError("file_too_large", f"{location}: {size}; expected less: use a smaller file")
        yield target


@contextmanager
def open_stream(location: str) -> Generator[BinaryIO]:
    """Open a local or remote file for one sequential read.

    Args:
        location: absolute local path or URI.

    Raises:
        InputError: `file_missing`, for a URI.
        OSError: the file cannot be opened or read; ENXIO if it is not a regular file, for example a pipe.
    """
    if is_remote(location):
        with _standard_errors(location):
            fs, path = url_to_fs(location)
            with fs.open(path, "rb") as stream:
                yield cast(BinaryIO, stream)
        return
    if not stat.S_ISREG(os.stat(location).st_mode):  # opening a pipe would block
        raise OSError(errno.ENXIO, "not a regular file", location)
    with open(location, "rb", buffering=0) as stream:
        yield cast(BinaryIO, stream)


@contextmanager
def _standard_errors(location: str) -> Generator[None]:
    """Convert errors of object stores, which have classes of their own, into InputError and OSError."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError("file_missing", f"{location}: no such file: check the address") from None
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{location}: cannot be fetched ({type(error).__name__}: {error})") from error
