"""The activity of a run, read from the end of its event log while its driver may be running elsewhere."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from manifests.problems import ManifestError, safe_text
from manifests.run.events import EVENTS, SEGMENTS, parse_events
from manifests.storage import Storage
from pipelines.engine.events import EventKind
from pipelines.engine.statistics import Estimate, parse_estimate, parse_statistics

TAIL_BYTES = 512 * 1024  # read from the end of the event log; a progress line has about 4 kB
Activity = Literal["running", "finished", "stopped", "silent"]
SILENCE_S = 100.0  # a running driver writes a line at least every 30 seconds


@dataclass(frozen=True)
class RunActivity:
    """The activity of a run."""

    # `running`; `finished` if every record has an outcome; `stopped` if it ended before; `silent` if its driver has not
    # written an event for `SILENCE_S`
    kind: Activity
    sentence: str  # details; may be empty
    # last event with statistics since the run was started or resumed; None if there is none
    progress: Mapping[str, Any] | None

    @property
    def estimate(self) -> Estimate | None:
        """Estimated rate and remaining time; None unless the run is running and has logged them."""
        return parse_estimate(self.progress) if self.kind == "running" and self.progress else None


def read_activity(storage: Storage, *, pending: int, now: float | None = None) -> RunActivity:
    """Read the activity of a run.

    Args:
        storage: storage of the run folder.
        pending: number of records without an outcome.
        now: seconds since 1970; None for the current time.
    """
    last, progress = None, None
    for event in _last_events(storage):
        last = last or event
        if event.get("event") in (EventKind.PROGRESS, EventKind.RUN_ENDED) and parse_statistics(event):
            progress = event
        if progress or event.get("event") == EventKind.RUN_STARTED:
            break

    def describe(kind: Activity, sentence: str = "") -> RunActivity:
        return RunActivity(kind, sentence, progress)

    if pending <= 0:
        return describe("finished")
    if last is None:
        return describe("silent", "it has not started yet")
    if last.get("event") == EventKind.RUN_ENDED:
        reason = last.get("error")
        return describe("stopped", safe_text(reason, 400) if reason else "it ended before all records were done")

    try:
        age = (time.time() if now is None else now) - datetime.fromisoformat(str(last["time"])).timestamp()
    except (KeyError, ValueError, OverflowError):
        age = float("inf")
    if age <= SILENCE_S:
        return describe("running")
    text = f"no event for {age / 60:,.0f} minutes; if its process is gone, continue with joyvasa resume"
    return describe("silent", text)


def _last_events(storage: Storage) -> Iterator[dict[str, Any]]:
    """Yield the events in the tail of the log, the last one first."""
    try:
        path = EVENTS
        if not storage.exists(EVENTS) and (segments := sorted(storage.names(SEGMENTS))):
            path = f"{SEGMENTS}/{segments[-1]}"
        with storage.open(path) as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            lines = file.read().splitlines()
    except (OSError, ManifestError):
        return
    yield from parse_events(reversed(lines))  # one may be cut at the start of the tail
