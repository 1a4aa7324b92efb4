"""Finished runs with chosen portraits, voices and metrics, without videos."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from manifests.run.folder import RunFolder
from tests.pipelines.report.run_folders import failed_outcome, ok_outcome, write_run

INPUTS = ("record_id", "image", "audio", "voice", "note", "run", "split")


def write_finished_run(
    root: Path, rows: Iterable[Mapping[str, Any]], *, shards: int | None = None, shard_size: int = 4
) -> RunFolder:
    """Write a run.

    Args:
        root: run folder.
        rows: columns of the manifest, `status`, `seed`, `image_phash`, and metrics by their names.
        shards: number of finished shards; None for all.
        shard_size: records per shard.
    """
    by_id = {row["record_id"]: row for row in rows}

    def outcome(record):
        row = by_id[record.id]
        if row.get("status", "ok") != "ok":
            return failed_outcome(record, status=row["status"])
        metrics = {name: value for name, value in row.items() if name not in (*INPUTS, "seed", "status", "image_phash")}
        return dataclasses.replace(
            ok_outcome(record, **metrics),
            seed=row.get("seed", 0),
            image_phash=row.get("image_phash"),
            image_sha256=hashlib.sha256(row["image"].encode()).hexdigest(),
            audio_sha256=hashlib.sha256(row["audio"].encode()).hexdigest(),
        )

    manifest_rows = [{name: row[name] for name in INPUTS if name in row} for row in by_id.values()]
    manifests = root.with_name(f"{root.name}-manifest")
    manifests.mkdir()
    return write_run(root, manifest_rows, outcome, manifests=manifests, shard_size=shard_size, shards=shards)


def make_row(number: int, **values: Any) -> dict[str, Any]:
    """Return a row with an image and a recording of its own."""
    return {"record_id": f"r{number}", "image": f"{number}.jpg", "audio": f"{number}.wav", **values}
