"""Export the finished videos of a run as WebDataset shards."""

from __future__ import annotations

import io
import json
import shlex
import tarfile
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import pyarrow.compute

from manifests.errors import ManifestError
from manifests.problems import safe_text
from manifests.run.folder import RunFolder
from manifests.run.json_rows import JsonRows
from manifests.storage import open_storage

pc: Any = pyarrow.compute  # defines its functions dynamically, which type checkers do not see


def export_webdataset(
    run: str, out: str, *, on_note: Callable[[str], object] | None = None
) -> Iterator[tuple[str, int]]:
    """Write one tar file for each finished shard with at least one ok record; each file is written atomically.

    A sample is `KEY.mp4` and `KEY.json`, the outcome row as in `JsonRows`. The key consists of the numbers of shard and
    row, because record ids may contain dots, at which WebDataset ends a key. A second export writes identical files.

    Args:
        run: run folder; a path or URI.
        out: folder for the tar files; a path or URI.
        on_note: callback for a sentence about the whole export, at its end.

    Yields:
        Location and number of records of each tar file, once it is written.

    Raises:
        ManifestError: `run_missing`, `video_missing` before anything is written, or `output_unwritable`.
        InputError: `records_unreadable`.
    """
    folder, target = RunFolder(open_storage(run)), open_storage(out)
    folder.read_description()  # raises `run_missing`
    if missing := folder.find_missing_files():
        problem = f"files of finished records are missing: {len(missing):,}, such as {missing[0]}"
        todo = f"expected all: make them again with joyvasa resume {shlex.quote(run)} --retry missing"
        raise ManifestError("video_missing", f"{safe_text(folder.storage.root, 200)}: {problem}; {todo}")
    json_rows = JsonRows()
    for shard in sorted(folder.read_done_markers()):
        records = folder.read_records(shard)
        rows = [*json_rows.convert(records.filter(pc.equal(records.column("status"), "ok")))]
        if not rows:
            continue

        name = f"{shard:05d}.tar"
        with target.staging(name) as path, tarfile.open(path, "w") as tar:
            for number, row in enumerate(rows):
                key = f"{shard:05d}-{number:05d}"
                size = folder.storage.size(row["video"])
                with folder.storage.open(row["video"]) as video:
                    _add(tar, f"{key}.mp4", video, size or 0)
                content = json.dumps(row, ensure_ascii=False, allow_nan=False).encode()
                _add(tar, f"{key}.json", io.BytesIO(content), len(content))
        yield target.location(name), len(rows)
    if json_rows.columns_as_text and on_note:
        names = ", ".join(map(safe_text, json_rows.columns_as_text))
        on_note(f"JSON cannot hold some values of these columns, which are written as text: {names}")


def _add(tar: tarfile.TarFile, name: str, content: BinaryIO, size: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = size
    tar.addfile(entry, content)
