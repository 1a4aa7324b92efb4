"""Files of a source manifest that hold media of its rows: a run needs them until its records have outcomes.

A run copies rows, but refers to media in cells of tables and members of tar files by their location. If such a file is
written again, the same location may refer to the media of another row, so a resume checks that the files are unchanged.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress

from joyvasa.runtime.locations import is_remote, open_filesystem
from manifests.manifest import resolve_location
from manifests.problems import ManifestError, safe_text

SAMPLES, SAMPLE_BYTES = 16, 4096  # parts of a local file that are hashed, evenly spaced; the last one is its end
# Properties of remote files that change with their content, as file systems of fsspec name them.
VERSIONS = ("ETag", "etag", "blob_id", "md5Hash", "content_md5", "generation", "mtime", "LastModified")


def sign_file(location: str) -> str:
    """Return a short text that changes with the content of a file.

    A local file is not read as a whole: a copy has the same signature, and a change of few bytes may not be seen.

    Args:
        location: absolute path or URI.

    Raises:
        OSError: the file does not exist or cannot be read; object stores have errors of their own.
    """
    fs, path = open_filesystem(location)
    if is_remote(location):
        info = fs.info(path)
        version = next((str(info[name]) for name in VERSIONS if info.get(name)), "")
        return f"{info.get('size')} bytes, {hashlib.sha256(version.encode()).hexdigest()[:16]}"
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        n_bytes = os.fstat(file.fileno()).st_size
        for number in range(SAMPLES):
            file.seek(max(0, n_bytes - SAMPLE_BYTES) * number // (SAMPLES - 1))
            digest.update(file.read(SAMPLE_BYTES))
    return f"{n_bytes} bytes, {digest.hexdigest()[:16]}"


def sign_files(folder: str, files: Iterable[str]) -> dict[str, str]:
    """Return the signatures of files, without those whose server does not describe them.

    Args:
        folder: folder of the files; an absolute path or URI.
        files: their paths in the folder.
    """
    signatures = {}
    for file in files:
        with suppress(Exception):  # object stores have error classes of their own
            signatures[file] = sign_file(resolve_location(folder, file))
    return signatures


def require_unchanged_files(signatures: Mapping[str, str], rows: Mapping[str, int]) -> None:
    """Check that files are those that a run was started with.

    Args:
        signatures: result of `sign_file` at the start of the run, by location.
        rows: number of rows with media in a file, by location; other files are not checked.

    Raises:
        ManifestError: `source_missing`, `source_changed` or `source_unreadable`.
    """
    for location in sorted(rows.keys() & signatures.keys()):
        shown, needed = safe_text(location, 200), f"with media of {rows[location]:,} rows that may not be finished"
        try:
            found = sign_file(location)
        except FileNotFoundError:
            sentence = f"{shown}: no such file; expected the one {needed}: restore it, or start a new run"
            raise ManifestError("source_missing", sentence) from None
        except Exception as error:  # object stores have error classes of their own
            reason = safe_text(str(error) or type(error).__name__, 200)
            sentence = f"{shown}: cannot be read ({reason}); expected the file {needed}: check access to it"
            raise ManifestError("source_unreadable", sentence) from None
        if found != signatures[location]:
            change = f"changed after the start of the run (found {found}; expected {signatures[location]})"
            sentence = f"{shown}: {change}, so its rows may have other media: restore the file, or start a new run"
            raise ManifestError("source_changed", sentence)
