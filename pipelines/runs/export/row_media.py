"""Lookup of the media files of rows: the video, and the portrait and recording that it was made from."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from joyvasa.errors import InputError
from manifests.problems import safe_text
from manifests.record import speech_path
from pipelines.runs.export.media import FileSizes
from pipelines.runs.export.plan import MEDIA_KINDS
from pipelines.runs.export.source import SourceRun

INPUT_COLUMNS = {"portrait": "image", "audio": "audio"}  # column of the rows by kind of media
MEDIA_COLUMNS = ("record_id", "shard", "video", "sha256", "input_video", "image", "audio")
MEDIA_COLUMNS += ("image_sha256", "audio_sha256")
_SHA256 = re.compile("[0-9a-f]{64}")


class RowMedia:
    """Finds media files and their sizes. Use it as a context manager.

    An input is found only if the row has the hash of its content: without it, the path may refer to any file.

    Args:
        with_inputs: whether to look for portraits and recordings.
    """

    def __init__(self, *, with_inputs: bool) -> None:
        self.with_inputs = with_inputs
        self._sizes = FileSizes()

    def __enter__(self) -> RowMedia:
        self._sizes.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._sizes.__exit__(*error)

    def find(self, rows: Sequence[dict[str, Any]], runs: Sequence[SourceRun]) -> list[pa.Array]:
        """Return location, size and hash of each kind of media, as in `OWN_FIELDS`.

        The recording of a row without one is the speech of its text.

        Args:
            rows: values of `MEDIA_COLUMNS`, and `text`.
            runs: run of each row.

        Raises:
            InputError: `video_missing`.
        """
        arrays = []
        for kind in MEDIA_KINDS:
            files = [self._locate(kind, row, run) for row, run in zip(rows, runs, strict=True)]
            sizes = self._sizes.find([location for location, _ in files])
            if kind == "video":
                _require_videos(rows, runs, files, sizes)
            found = [location if size is not None else None for (location, _), size in zip(files, sizes, strict=True)]
            arrays += [pa.array(found, pa.string()), pa.array(sizes, pa.int64())]
            arrays.append(pa.array([digest for _, digest in files], pa.string()))
        return arrays

    def _locate(self, kind: str, row: dict[str, Any], run: SourceRun) -> tuple[str | None, str | None]:
        if kind == "video":
            return run.locate_video(row), row.get("sha256")
        digest = row.get(f"{INPUT_COLUMNS[kind]}_sha256")
        if not self.with_inputs or not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            return None, None
        if kind == "audio" and not row.get("audio") and (text := row.get("text")):
            return run.folder.storage.location(speech_path(text)), digest
        return run.locate_input(row.get(INPUT_COLUMNS[kind])), digest


def _require_videos(
    rows: Sequence[dict[str, Any]],
    runs: Sequence[SourceRun],
    files: Sequence[tuple[str | None, str | None]],
    sizes: Sequence[int | None],
) -> None:
    for row, run, (location, _), size in zip(rows, runs, files, sizes, strict=True):
        if size is not None:
            continue
        root = run.folder.storage.root
        if row["video"] and (missing := run.folder.find_missing_files()):
            problem = f"files of finished records are missing: {len(missing):,}, such as {safe_text(missing[0], 200)}"
            todo = f"expected all: make them again with joyvasa resume {shlex.quote(root)} --retry missing"
            raise InputError("video_missing", f"{safe_text(root, 200)}: {problem}; {todo}")
        found = f"{safe_text(location, 200)} is missing" if location else "it has no video"
        sentence = f"{safe_text(root, 200)}: record {safe_text(row['record_id'])}: {found}; expected a file"
        raise InputError("video_missing", f"{sentence}: restore it, or select rows without it")
