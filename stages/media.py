"""Files that rows name, as local files."""

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

MAX_BYTES = 4 << 30  # of a file that is fetched, so that one row cannot fill the disk
CHUNK_BYTES = 1 << 20


@contextmanager
def local_file(location: str) -> Generator[Path]:
    """A file for programs that want a path; one that lies elsewhere is fetched, and removed afterwards.

    Args:
        location: absolute local path or URI.

    Raises:
        InputError: `file_missing` or `file_too_large`, for a URI. Whether a local file is there is for its reader to
            tell.
        OSError: it could not be fetched; another attempt may help.
    """
    if not is_remote(location):
        yield Path(location)
        return
    with scratch_folder() as folder:
        name = posixpath.basename(location)[-64:]  # error messages name it
        target = Path(folder, name if name.strip(".") else "file")
        with _plain_errors(location):
            fs, path = url_to_fs(location)
            with fs.open(path, "rb") as source, target.open("wb") as file:
                while chunk := cast(BinaryIO, source).read(CHUNK_BYTES):
                    file.write(chunk)
                    if file.tell() > MAX_BYTES:
                        found = f"more than {MAX_BYTES >> 30} GiB"
                        raise InputError("file_too_large", f"{location}: {found}; expected less: use a smaller file")
        yield target


@contextmanager
def open_stream(location: str) -> Generator[BinaryIO]:
    """A file to be read once from its beginning, wherever it lies.

    Args:
        location: absolute local path or URI.

    Raises:
        InputError: `file_missing`, for a URI.
        OSError: it cannot be opened or read; ENXIO for what is no regular file, such as a pipe.
    """
    if is_remote(location):
        with _plain_errors(location):
            fs, path = url_to_fs(location)
            with fs.open(path, "rb") as stream:
                yield cast(BinaryIO, stream)
        return
    if not stat.S_ISREG(os.stat(location).st_mode):  # opening a pipe would wait for its other end
        raise OSError(errno.ENXIO, "not a regular file", location)
    with open(location, "rb", buffering=0) as stream:
        yield cast(BinaryIO, stream)


@contextmanager
def _plain_errors(location: str) -> Generator[None]:
    """Object stores bring error classes of their own; they become those that stages know."""
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
