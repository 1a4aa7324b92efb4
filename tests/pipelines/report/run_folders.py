"""Run folders for tests of reports, written by the code that writes real ones, but without networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from manifests.manifest import open_manifest
from manifests.record import Record
from manifests.run.description import ManifestSource, RunDescription
from manifests.run.events import EventLog
from manifests.run.folder import RunFolder
from manifests.run.manifest_file import write_manifest
from manifests.run.outcome import RecordOutcome
from manifests.scan import Scan
from manifests.storage import open_storage
from pipelines.engine.statistics import RunStatistics, StageStatistics
from tests.manifests.tables import write

CONFIGURATION = {"animation": {"models": "random", "seed": 0}, "metrics": "all"}
MISSING = "weights_missing: not available: needs amt-s.pth"


def write_run(
    root: str | Path,
    rows: Iterable[Mapping[str, Any]] | Path,
    outcome: Callable[[Record], RecordOutcome],
    *,
    manifests: Path,
    shard_size: int = 8,
    video: bytes = b"",
    shards: int | None = None,
    name: str = "",
    parts: Iterable[Mapping[str, Any]] = (),
) -> RunFolder:
    """Write a run whose records have given outcomes.

    Args:
        root: run folder.
        rows: rows of the manifest, or a manifest file.
        outcome: function that returns the outcome of a record.
        manifests: folder for the manifest.
        shard_size: records per shard.
        video: content of the videos of ok records; empty for no videos.
        shards: number of finished shards; None for all.
        name: name of the system whose videos are scored; empty for a run that generates videos.
        parts: statistics of the parts, see `statistics`; without `error` for a part that crashed.
    """
    file = rows if isinstance(rows, Path) else write(manifests / "pairs.jsonl", list(rows))
    manifest = open_manifest(file)
    scan = Scan(manifest, videos=bool(name))
    copy = manifests / "rows.parquet"
    write_manifest(scan, copy, shard_size=shard_size)
    kind = "evaluate" if name else "generate"
    source = ManifestSource.from_scan(manifest, copy, scan.summary)
    description = RunDescription(CONFIGURATION, source, {"random": "ab" * 32}, {"joyvasa": "0.1.0"}, kind, name)
    folder = RunFolder(open_storage(root))
    folder.create(description, copy)
    copied = folder.read_manifest()
    with EventLog(folder.storage) as log:
        for part in parts:
            log.write("run_started", stage=None, stages=[*part["stages"]])
            log.write("run_ended" if "error" in part else "progress", stage=None, **part)
    for number in range(len(copied) if shards is None else shards):
        shard = copied.read_shard(number)
        outcomes = [outcome(record) for record in shard.records]
        for outcome_row in outcomes:
            if outcome_row.video and video:
                folder.storage.write(outcome_row.video, video)
        folder.finish_shard(shard, outcomes, run_fingerprint=description.fingerprint())
    return folder


def ok_outcome(record: Record, *, video: str | None = None, **metrics: float | None) -> RecordOutcome:
    """Return the outcome of a video of 4 s; metrics that are None lack their weights."""
    return RecordOutcome(
        record_id=record.id,
        status="ok",
        stage="verify_output",
        seconds={"motion": 0.5, "render": 2.0},
        frames=100,
        duration_s=4.0,
        video=video,
        bundle="random abab",
        licenses=("MIT", "research only"),
        metrics=metrics,
        metric_reasons={name: MISSING for name, value in metrics.items() if value is None},
    )


def failed_outcome(
    record: Record, code: str = "face_not_found", error: str = "", status: Any = "failed"
) -> RecordOutcome:
    """Return the outcome of a record without a video."""
    sentence = error or f"{record.image}: no face found; expected one"
    return RecordOutcome(record_id=record.id, status=status, stage="portrait", error_code=code, error=sentence)


def statistics(*, elapsed_s: float = 100.0, ended: bool = True, gpus: float = 0.0, **render: Any) -> dict[str, Any]:
    """Return statistics of a part of a run with the stages `motion` and `render`; `render` sets its fields."""
    stages = {
        "motion": StageStatistics(
            batch_size=16, num_gpus=gpus / 4, workers=1, records=10, batches=1, filled=8, busy_s=10
        ),
        "render": StageStatistics(batch_size=4, num_gpus=3 * gpus / 4, workers=1, records=10, **render),
    }
    run_statistics = RunStatistics(stages, elapsed_s=elapsed_s).as_dict()
    return {**run_statistics, "error": None} if ended else run_statistics


def numbers(n: int, seed: int = 0, mean: float = 5.0) -> np.ndarray:
    """Return normally distributed values with a deviation of 1."""
    return np.random.default_rng(seed).normal(mean, 1.0, n)
