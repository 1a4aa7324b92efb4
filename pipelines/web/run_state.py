"""Progress of a run, from the files in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from manifests.problems import safe_text
from manifests.run.description import RunDescription
from manifests.run.folder import RunFolder
from manifests.run.manifest_file import RunManifest
from pipelines.engine.statistics import parse_statistics
from pipelines.runs.activity import read_activity
from pipelines.web.run_rows import RunRows


@dataclass(frozen=True)
class StageState:
    """Progress of one stage since the run was last started or resumed."""

    name: str  # name of the stage
    done: int  # records that passed the stage
    total: int  # all records
    waiting: int  # records in its queue
    workers: int  # workers that are ready
    busy: float  # share of the time that workers were busy, 0 to 1
    failed: int  # records that failed or were quarantined there


@dataclass(frozen=True)
class RunState:
    """Progress of a run."""

    activity: str  # `running`, `finished`, `stopped` or `silent`
    sentence: str  # details of the activity; may be empty
    kind: str  # kind of the run, such as `generate`
    started: str  # date and time, UTC
    models: str  # model bundle
    records: int  # number of records
    statuses: Mapping[str, int]  # number of records by status
    left_s: float | None = None  # estimated seconds until the end, while the run is active
    stages: list[StageState] = field(default_factory=list)  # progress of the stages in order; empty if none was logged

    @property
    def pending(self) -> int:
        """Records without an outcome."""
        return max(0, self.records - sum(self.statuses.values()))


def read_run_state(
    folder: RunFolder, description: RunDescription, manifest: RunManifest, rows: RunRows, *, now: float | None = None
) -> RunState:
    """Read the progress of a run.

    Args:
        folder: run folder.
        description: description of the run.
        manifest: rows of the run.
        rows: outcome rows of the run, refreshed.
        now: seconds since 1970; None for the current time.
    """
    statuses = dict(rows.statuses)
    activity = read_activity(folder.storage, pending=manifest.records - sum(statuses.values()), now=now)
    return RunState(
        activity=activity.kind,
        sentence=activity.sentence,
        kind=description.kind,
        started=description.created[:16].replace("T", " "),
        models=description.models,
        records=manifest.records,
        statuses=statuses,
        left_s=activity.estimate.left_s if activity.estimate else None,
        stages=_stage_states(activity.progress) if activity.progress else [],
    )


def _stage_states(progress: Mapping[str, Any]) -> list[StageState]:
    if not (statistics := parse_statistics(progress)):
        return []
    records = progress.get("records")
    total = max(records if isinstance(records, int) else 0, statistics.admitted)
    return [
        StageState(
            name=safe_text(name, 40),
            done=stage.records + stage.shared,
            total=total,
            waiting=stage.queue_depth,
            workers=stage.workers,
            busy=stage.busy_fraction,
            failed=stage.failed + stage.quarantined,
        )
        for name, stage in statistics.stages.items()
    ]
