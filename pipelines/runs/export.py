"""Export the finished videos of a run as WebDataset shards."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from typing import BinaryIO

from manifests.run.folder import RunFolder
from manifests.storage import open_storage


def export_webdataset(run: str, out: str) -> Iterator[tuple[str, int]]:
    """Write one tar file for each finished shard with at least one ok record; each file is written atomically.

    A sample is `KEY.mp4` and `KEY.json`, the outcome row. The key consists of the numbers of shard and row, because
    record ids may contain dots, at which WebDataset ends a key. A second export writes identical files.

    Args:
        run: run folder; a path or URI.
        out: folder for the tar files; a path or URI.

    Yields:
        Location and number of records of each tar file, once it is written.

    Raises:
        ManifestError: `run_missing` or `output_unwritable`.
        InputError: `records_unreadable`.
    """
    folder, target = RunFolder(open_storage(run)), open_storage(out)
    folder.read_description()  # raises `run_missing`
    for shard in sorted(folder.read_done_markers()):
        rows = [row for row in folder.read_records(shard).to_pylist() if row["status"] == "ok"]
        if not rows:
            continue

        name = f"{shard:05d}.tar"
        with target.staging(name) as path, tarfile.open(path, "w") as tar:
            for number, row in enumerate(rows):
                key = f"{shard:05d}-{number:05d}"
                size = folder.storage.size(row["video"])
                with folder.storage.open(row["video"]) as video:
                    _add(tar, f"{key}.mp4", video, size or 0)
                content = json.dumps(row, default=str, ensure_ascii=False).encode()
                _add(tar, f"{key}.json", io.BytesIO(content), len(content))
        yield target.location(name), len(rows)


def _add(tar: tarfile.TarFile, name: str, content: BinaryIO, size: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = size
    tar.addfile(entry, content)
