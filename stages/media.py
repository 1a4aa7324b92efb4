"""Files that rows name, as local files."""

from __future__ import annotations

import posixpath
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from fsspec.core import url_to_fs

from joyvasa.errors import InputError
from manifests.manifest import is_remote


@contextmanager
def local_file(location: str) -> Generator[Path]:
    """A file for programs that want a path; one that lies elsewhere is fetched, and removed afterwards.

    Args:
        location: absolute local path or URI.

    Raises:
        InputError: `file_missing`, for a URI. Whether a local file is there is for its reader to tell.
        OSError: it could not be fetched; another attempt may help.
    """
    if not is_remote(location):
        yield Path(location)
        return
    with tempfile.TemporaryDirectory(prefix="joyvasa-fetch-") as folder:
        name = posixpath.basename(location)[-64:]  # error messages name it
        target = Path(folder, name if name.strip(".") else "file")
        try:
            fs, path = url_to_fs(location)
            fs.get_file(path, str(target))
        except FileNotFoundError:
            raise InputError("file_missing", f"{location}: no such file: check the address") from None
        except OSError:
            raise
        except Exception as error:  # object stores bring error classes of their own
            raise OSError(f"{location}: cannot be fetched ({type(error).__name__}: {error})") from error
        yield target
