"""Progress of a run, from the files in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from manifests.problems import safe_text
from manifests.run.description import RunDescription
from manifests.run.folder import RunFolder
from manifests.run.manifest_file import RunManifest
from pipelines.engine.statistics import RunStatistics, StageStatistics, parse_statistics
from pipelines.runs.activity import RunActivity, read_activity
from pipelines.web.run_rows import RunRows


@dataclass(frozen=True)
class RunState:
    """Progress of a run."""

    activity: RunActivity  # whether it is running, and the estimate
    description: RunDescription  # content of `run.yaml`
    records: int  # number of records
    statuses: Mapping[str, int]  # number of records by status
    stages: Mapping[str, StageStatistics]  # stages since the last start, in order; empty if none was logged
    stage_records: int  # number of records that pass the stages since the last start

    @property
    def pending(self) -> int:
        """Records without an outcome."""
        return max(0, self.records - sum(self.statuses.values()))


def read_run_state(
    folder: RunFolder, description: RunDescription, manifest: RunManifest, rows: RunRows, *, now: float | None = None
) -> RunState:
    """Read the progress of a run from refreshed rows; `now` is in seconds since 1970, None for the current time."""
    statuses = dict(rows.statuses)
    activity = read_activity(folder.storage, pending=manifest.records - sum(statuses.values()), now=now)
    progress = activity.progress or {}
    statistics, records = parse_statistics(progress) or RunStatistics({}), progress.get("records")
    return RunState(
        activity=activity,
        description=description,
        records=manifest.records,
        statuses=statuses,
        stages={safe_text(name, 40): stage for name, stage in statistics.stages.items()},
        stage_records=max(records if isinstance(records, int) else 0, statistics.admitted),
    )
