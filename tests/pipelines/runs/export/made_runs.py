"""Run folders and selections for tests of exports, without networks."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from joyvasa.runtime.result_tables import find_finished_tables, read_table
from manifests.record import Record
from manifests.run.folder import RunFolder
from manifests.run.outcome import RecordOutcome
from tests.pipelines.report.run_folders import failed_outcome, ok_outcome, write_run

SYNC_MISSING_ROWS = 7  # more than the five rows from which WebDataset's columns are inferred
NAMES = ("plain", "with.dots", "Ünïcode 顔", "../../escape", "CON", "a/b", "-x", "quote\"'<script>", "z" * 300)


def make_row(index: int, folder: Path, record_id: str | None = None) -> dict[str, Any]:
    """Return a row of a manifest whose inputs exist; the first rows have null in every optional column."""
    image, audio = folder / f"portrait-{index % 3}.jpg", folder / f"speech-{index}.wav"
    image.write_bytes(b"portrait %d" % (index % 3))
    audio.write_bytes(b"speech %d" % index)
    late = index >= SYNC_MISSING_ROWS
    return {
        "record_id": record_id or f"r{index:03d}",
        "image": image.name,
        "audio": audio.name,
        "text": f"句 {index}: naïve" if late else None,
        "age": index if late else None,
        "big": 2**53 + index if late else None,
        "indoor": bool(index % 2) if late else None,
        "never": None,
        "voice": "slt" if index % 2 else "rms",
    }


def read_video(record_id: str, run: str = "") -> bytes:
    """Return the content of the video of a record."""
    return f"video of {record_id}{run}".encode() * 50


def make_run(
    root: Path,
    rows: Sequence[Mapping[str, Any]],
    *,
    outcome: Callable[[Record, RecordOutcome], RecordOutcome] = lambda record, ok: ok,
    failed: Iterable[str] = (),
    shard_size: int = 4,
    content: Callable[[str], bytes] = read_video,
    licenses: Sequence[str] = ("MIT",),
) -> RunFolder:
    """Write a finished run next to the inputs of its rows; `sync_c` is null in the first rows."""
    folder = RunFolder.__new__(RunFolder)
    manifests = root.parent / f"{root.name}-manifest"
    manifests.mkdir(parents=True, exist_ok=True)
    order = {row["record_id"]: index for index, row in enumerate(rows)}

    def make_outcome(record: Record) -> RecordOutcome:
        if record.id in set(failed):
            return failed_outcome(record)
        index = order[record.id]
        shard = index // shard_size
        path = folder.video_path(shard, record.id)
        data = content(record.id)
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        metrics = {"sharpness": 1.0 + index, "sync_c": 3.5 + index if index >= SYNC_MISSING_ROWS else None}
        ok = ok_outcome(record, video=path, **metrics)
        inputs = {
            f"{name}_sha256": hashlib.sha256(Path(location).read_bytes()).hexdigest() if location else None
            for name, location in (("image", record.image), ("audio", record.audio))
        }
        ok = dataclasses.replace(
            ok, sha256=hashlib.sha256(data).hexdigest(), licenses=tuple(licenses), seed=index, **inputs
        )
        return outcome(record, ok)

    return write_run(root, rows, make_outcome, manifests=manifests, shard_size=shard_size)


def inputs_folder(root: Path) -> Path:
    """Return the folder for the inputs of a run, which is that of its manifest."""
    folder = root.parent / f"{root.name}-manifest"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def make_numbered_run(root: Path, n: int, **options: Any) -> RunFolder:
    """Write a run of `n` records."""
    return make_run(root, [make_row(index, inputs_folder(root)) for index in range(n)], **options)


def write_selection(path: Path, runs: Sequence[Path], splits: Sequence[str] | None = None) -> Path:
    """Write the ok rows of runs as a selection, splits in turn."""
    tables = []
    for run in runs:
        table = read_table(find_finished_tables(run))
        table = table.filter(pa.compute.equal(table.column("status"), "ok"))
        tables.append(table.append_column("run", pa.array([str(run)] * table.num_rows, pa.string())))
    table = pa.concat_tables(tables, promote_options="permissive")
    if splits:
        names = [splits[index % len(splits)] for index in range(table.num_rows)]
        table = table.append_column("split", pa.array(names, pa.string()))
    pq.write_table(table.replace_schema_metadata(None), path)
    return path


def read_tree(folder: Path) -> dict[str, bytes]:
    """Return the content of all files of a data set by path, without markers."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    paths = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: path.read_bytes() for name, path in paths.items() if not name.startswith(".export/")}
