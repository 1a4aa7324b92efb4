"""Names of exported files, and of columns that would collide with those of a data set."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

from manifests.record import file_stem

# Columns that an export adds; a column of the rows with such a name gets the prefix `input_`.
RESERVED_COLUMNS = frozenset(
    {"video", "audio", "portrait", "file_name", "audio_file", "portrait_file", "null_columns", "run"}
)
_FILE_NAME = re.compile(r"file_name(s?)$")  # a column whose name ends so is a video for `videofolder`
_SUFFIX = re.compile(r"\.[a-z0-9]{1,5}")


def name_record(run: str, record_id: str) -> str:
    """Return the name of a record's files, without suffix.

    The name is safe on every file system, unique within an export, and has no dots, at which WebDataset ends a key. An
    id with these properties is its own name.

    Args:
        run: name of the record's run, unique within the export; empty if there is only one run.
        record_id: id of the record, any text.
    """
    stem = file_stem(record_id)
    if not run and stem == record_id and "." not in stem:
        return stem
    return file_stem(f"{run}/{record_id}")  # hashed because of its slash


def name_run(location: str, used: Iterable[str]) -> str:
    """Return a short unique name of a run: the last part of its location, numbered if that name is used."""
    base = re.sub(r"[^\w.-]+", "_", posixpath.basename(location.rstrip("/")))[:48].strip(".") or "run"
    name, number = base, 2
    while name in used:
        name, number = f"{base}-{number}", number + 1
    return name


def name_column(name: str, used: Iterable[str]) -> str:
    """Return the name of a passed-through column in the data set."""
    name = _FILE_NAME.sub(r"filename\1", name)
    while name in RESERVED_COLUMNS or name in used:
        name = f"input_{name}"
    return name


def get_suffix(location: str) -> str:
    """Return the suffix of a media file in lower case, empty if it is unusual."""
    suffix = posixpath.splitext(location.partition("?")[0])[1].lower()
    return suffix if _SUFFIX.fullmatch(suffix) else ""
