"""The table files of a folder: part files, folders `column=value`, and the layouts of `datasets`."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Any

from joyvasa.runtime.parsing import parse_json
from manifests.problems import ManifestError, safe_text

FORMATS = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".arrow": "arrow",
    ".tar": "webdataset",
}
# Names of splits and of folders with data in repositories of data sets, see
# https://huggingface.co/docs/hub/datasets-file-names-and-splits.
_SPLITS = "train|training|validation|valid|val|dev|test|testing|eval|evaluation"
_SPLIT_FOLDER = re.compile(rf"(?:{_SPLITS})", re.IGNORECASE)
_SPLIT_FILE = re.compile(r"(?P<split>\w+)-\d{5}-of-\d{5}(?:-[0-9a-f]+)?\.\w+")
_STATE, _SPLIT_LIST = "state.json", "dataset_dict.json"  # files that `save_to_disk` writes
_MAX_STATE_BYTES = 16 << 20


def find_format(name: str) -> str:
    """Return the format of a table by the suffix of its name; empty if it is no table."""
    return FORMATS.get(posixpath.splitext(name)[1].lower(), "")


def find_split(file: str) -> str | None:
    """Return the split that the path of a file in a data set names.

    Examples are `train/0000.parquet` and `data/train-00000-of-00002.parquet`.
    """
    folder, _, name = file.rpartition("/")
    match = _SPLIT_FILE.fullmatch(name)
    if match and match["split"] != "data":
        return match["split"]
    top = folder.rpartition("/")[2]
    return top if _SPLIT_FOLDER.fullmatch(top) else None


def find_tables(fs: Any, folder: str) -> list[str]:
    """Return the paths of the tables of a manifest, relative to its folder.

    These are the tables in the folder and in subfolders named `column=value`; if there are none, those in `data` and in
    folders named as splits. Of a folder that `Dataset.save_to_disk` wrote, these are the files that it lists, not those
    that `datasets` cached there.

    Raises:
        ManifestError: `manifest_unreadable` if the list in such a folder is damaged.
    """
    if fs.exists(f"{folder}/{_SPLIT_LIST}"):
        splits = _read_names(fs, f"{folder}/{_SPLIT_LIST}", "splits", None)
        return [f"{split}/{name}" for split in splits for name in _list_saved(fs, f"{folder}/{split}")]
    if fs.exists(f"{folder}/{_STATE}"):
        return _list_saved(fs, folder)
    found = sorted(_iterate_tables(fs, folder))
    if found:
        return found
    return sorted(
        f"{name}/{file}"
        for name in _list_folders(fs, folder)
        if name == "data" or _SPLIT_FOLDER.fullmatch(name)
        for file in find_tables(fs, f"{folder}/{name}")
    )


def _iterate_tables(fs: Any, folder: str, prefix: str = "") -> Iterator[str]:
    for entry in fs.ls(folder, detail=True):
        name = posixpath.basename(entry["name"].rstrip("/"))
        if not name or name[0] in "_.":
            continue
        if fs.isdir(entry["name"]):
            if "=" in name:
                yield from _iterate_tables(fs, entry["name"], f"{prefix}{name}/")
        elif find_format(name):
            yield prefix + name


def _list_folders(fs: Any, folder: str) -> list[str]:
    names = [posixpath.basename(entry["name"].rstrip("/")) for entry in fs.ls(folder, detail=True)]
    return [name for name in names if name and name[0] not in "_." and fs.isdir(f"{folder}/{name}")]


def _list_saved(fs: Any, folder: str) -> list[str]:
    return _read_names(fs, f"{folder}/{_STATE}", "_data_files", "filename")


def _read_names(fs: Any, file: str, key: str, field: str | None) -> list[str]:
    """Return the names of files or folders in a JSON file of `save_to_disk`; none can be outside of its folder."""
    try:
        if not fs.isfile(file):  # opening a pipe would block
            raise ValueError("not a regular file")
        with fs.open(file, "rb") as stream:
            entries = parse_json(stream.read(_MAX_STATE_BYTES))[key]
        names = [entry[field] if field else entry for entry in entries]
        if not all(isinstance(name, str) and name.strip(".") and not {*"/\\\0"} & {*name} for name in names):
            raise ValueError(f"{key} holds no names of files")
    except (ValueError, TypeError, LookupError) as error:
        reason = safe_text(str(error), 200)
        sentence = f"{safe_text(file, 200)}: is damaged ({reason}); expected the file that save_to_disk writes"
        raise ManifestError("manifest_unreadable", f"{sentence}: save the data set again") from None
    return names
