"""Progress of a run, from the files in its folder."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from joyvasa.runtime.parsing import parse_json
from manifests.errors import ManifestError
from manifests.problems import safe_text
from manifests.run.description import RunDescription
from manifests.run.events import EVENTS
from manifests.run.folder import RunFolder
from manifests.run.manifest_file import RunManifest
from pipelines.engine.events import EventKind
from pipelines.engine.statistics import has_statistics
from pipelines.web.run_rows import RunRows

TAIL_BYTES = 512 * 1024  # read from the end of the event log; a line has about 3 kB
SILENCE_S = 100.0  # a running driver writes a line every 30 seconds


@dataclass(frozen=True)
class StageState:
    """Progress of one stage since the run was last started or resumed.

    Attributes:
        name: name of the stage.
        done: records that passed the stage.
        total: all records.
        waiting: records in its queue.
        workers: workers that are ready.
        busy: share of the time that workers were busy, 0 to 1.
        failed: records that failed or were quarantined there.
    """

    name: str
    done: int
    total: int
    waiting: int
    workers: int
    busy: float
    failed: int


@dataclass(frozen=True)
class RunState:
    """Progress of a run.

    Attributes:
        activity: `running`, `finished`, `stopped` or `silent`.
        sentence: details of the activity; may be empty.
        kind: kind of the run, such as `generate`.
        started: date and time, UTC.
        models: model bundle.
        records: number of records.
        statuses: number of records by status.
        left_s: estimated seconds until the end, while the run is active.
        stages: progress of the stages in order; empty if none was logged.
    """

    activity: str
    sentence: str
    kind: str
    started: str
    models: str
    records: int
    statuses: Mapping[str, int]
    left_s: float | None = None
    stages: list[StageState] = field(default_factory=list)

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

    last, progress = None, None
    for event in _last_events(folder):
        last = last or event
        if event.get("event") in (EventKind.PROGRESS, EventKind.RUN_ENDED) and has_statistics(event):
            progress = event
        if progress or event.get("event") == EventKind.RUN_STARTED:
            break
    pending = manifest.records - sum(statuses.values())
    activity, sentence = _describe_activity(last, pending, time.time() if now is None else now)
    return RunState(
        activity=activity,
        sentence=sentence,
        kind=description.kind,
        started=description.created[:16].replace("T", " "),
        models=description.models,
        records=manifest.records,
        statuses=statuses,
        left_s=_estimate_left(progress, pending) if activity == "running" else None,
        stages=_stage_states(progress) if progress else [],
    )


def _describe_activity(last: Mapping[str, Any] | None, pending: int, now: float) -> tuple[str, str]:
    if pending <= 0:
        return "finished", ""
    if last is None:
        return "silent", "it has not started yet"
    if last.get("event") == EventKind.RUN_ENDED:
        reason = last.get("error")
        return "stopped", safe_text(reason, 400) if reason else "it ended before all records were done"
    try:
        age = now - datetime.fromisoformat(str(last["time"])).timestamp()
    except (KeyError, ValueError, OverflowError):
        age = float("inf")
    if age <= SILENCE_S:
        return "running", ""
    return "silent", f"no event for {age / 60:,.0f} minutes; if its process is gone, continue with joyvasa resume"


def _estimate_left(progress: Mapping[str, Any] | None, pending: int) -> float | None:
    if not progress:
        return None
    finished = sum(_whole_number(progress.get(name)) for name in ("ok", "failed", "quarantined"))
    return pending * float(progress.get("elapsed_s", 0.0)) / finished if finished else None


def _stage_states(progress: Mapping[str, Any]) -> list[StageState]:
    total = max(_whole_number(progress.get("records")), _whole_number(progress.get("admitted")))
    states = []
    for name, numbers in progress["stages"].items():
        if isinstance(numbers, Mapping):
            failed = _whole_number(numbers.get("failed")) + _whole_number(numbers.get("quarantined"))
            done = _whole_number(numbers.get("records")) + _whole_number(numbers.get("shared"))
            waiting, workers = _whole_number(numbers.get("queue_depth")), _whole_number(numbers.get("workers"))
            busy = float(numbers.get("busy_fraction") or 0.0)
            states.append(StageState(safe_text(name, 40), done, total, waiting, workers, busy, failed))
    return states


def _whole_number(value: Any) -> int:
    return int(value) if isinstance(value, int | float) else 0


def _last_events(folder: RunFolder) -> Iterator[dict[str, Any]]:
    """Yield the events in the tail of the log, the last one first."""
    try:
        with folder.storage.open(EVENTS) as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            lines = file.read().splitlines()
    except (OSError, ManifestError):
        return
    for line in reversed(lines):
        try:
            event = parse_json(line)
        except ValueError:  # cut at the start of the tail, or being written
            continue
        if isinstance(event, dict):
            yield event
