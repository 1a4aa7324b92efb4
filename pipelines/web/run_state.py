"""How far a run is: what its folder says while it works, and afterwards."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from manifests.errors import ManifestError
from manifests.problems import safe_text
from manifests.run.description import RunDescription
from manifests.run.events import EVENTS
from manifests.run.folder import RunFolder
from manifests.run.manifest_file import RunManifest
from pipelines.engine.events import EventKind
from pipelines.web.run_parts import RunParts

TAIL_BYTES = 512 * 1024  # of the events, from the end; a line has about 3 kB
SILENCE_S = 100.0  # a run that works writes a line every 30 seconds


@dataclass(frozen=True)
class StageState:
    """One stage of the part of a run that works, or worked last.

    Attributes:
        name: of the stage.
        done: records that passed it.
        total: records of this part.
        waiting: records before it.
        workers: that are ready.
        busy: part of the time in which they worked, 0 to 1.
        ended: records that failed there.
    """

    name: str
    done: int
    total: int
    waiting: int
    workers: int
    busy: float
    ended: int


@dataclass(frozen=True)
class RunState:
    """A run in a few words.

    Attributes:
        word: `running`, `finished`, `stopped` or `silent`.
        sentence: what more there is to say of that; may be empty.
        kind: what it does.
        begun: date and time, UTC.
        models: bundle that the videos are made with.
        records: of the manifest.
        statuses: of those with an outcome.
        left_s: seconds until the end, where it works.
        stages: in order; none where nothing was written down.
    """

    word: str
    sentence: str
    kind: str
    begun: str
    models: str
    records: int
    statuses: Mapping[str, int]
    left_s: float | None = None
    stages: list[StageState] = field(default_factory=list)

    @property
    def pending(self) -> int:
        """Records without an outcome."""
        return max(0, self.records - sum(self.statuses.values()))


def run_state(
    folder: RunFolder, description: RunDescription, manifest: RunManifest, parts: RunParts, *, now: float | None = None
) -> RunState:
    """Reads how far a run is.

    Args:
        folder: of the run.
        description: of the run.
        manifest: rows of the run.
        parts: its outcome rows, refreshed.
        now: seconds since 1970; None asks the clock.
    """
    statuses = dict(parts.statuses)
    last, note = None, None
    for event in _last_events(folder):
        last = last or event
        if event.get("event") in (EventKind.PROGRESS, EventKind.RUN_ENDED) and isinstance(event.get("stages"), dict):
            note = event
        if note or event.get("event") == EventKind.RUN_STARTED:
            break
    pending = manifest.records - sum(statuses.values())
    word, sentence = _word(last, pending, time.time() if now is None else now)
    animation = description.configuration.get("animation")
    return RunState(
        word=word,
        sentence=sentence,
        kind=description.kind,
        begun=description.created[:16].replace("T", " "),
        models=str(animation.get("models", "")) if isinstance(animation, Mapping) else "",
        records=manifest.records,
        statuses=statuses,
        left_s=_left(note, pending) if word == "running" else None,
        stages=_stages(note) if note else [],
    )


def _word(last: Mapping[str, Any] | None, pending: int, now: float) -> tuple[str, str]:
    if pending <= 0:
        return "finished", ""
    if last is None:
        return "silent", "it has not begun to work"
    if last.get("event") == EventKind.RUN_ENDED:
        reason = last.get("error")
        return "stopped", safe_text(reason, 400) if reason else "it ended before all records were done"
    try:
        age = now - datetime.fromisoformat(str(last["time"])).timestamp()
    except (KeyError, ValueError):
        age = float("inf")
    if age <= SILENCE_S:
        return "running", ""
    return "silent", f"nothing was heard of it for {age / 60:,.0f} minutes; joyvasa resume goes on with it"


def _left(note: Mapping[str, Any] | None, pending: int) -> float | None:
    if not note:
        return None
    finished = sum(_whole(note.get(name)) for name in ("ok", "failed", "quarantined"))
    return pending * float(note.get("elapsed_s", 0.0)) / finished if finished else None


def _stages(note: Mapping[str, Any]) -> list[StageState]:
    total = max(_whole(note.get("records")), _whole(note.get("admitted")))
    found = []
    for name, numbers in note["stages"].items():
        if isinstance(numbers, Mapping):
            ended = _whole(numbers.get("failed")) + _whole(numbers.get("quarantined"))
            done = _whole(numbers.get("records")) + _whole(numbers.get("shared"))
            waiting, workers = _whole(numbers.get("queue_depth")), _whole(numbers.get("workers"))
            busy = float(numbers.get("busy_fraction") or 0.0)
            found.append(StageState(safe_text(name, 40), done, total, waiting, workers, busy, ended))
    return found


def _whole(value: Any) -> int:
    return int(value) if isinstance(value, int | float) else 0


def _last_events(folder: RunFolder) -> Iterator[dict[str, Any]]:
    """Events from the last one backwards, as far as the tail of the file reaches."""
    try:
        with folder.storage.open(EVENTS) as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            lines = file.read().splitlines()
    except (OSError, ManifestError):
        return
    for line in reversed(lines):
        try:
            event = json.loads(line)
        except ValueError:  # torn at the beginning of the tail, or just being written
            continue
        if isinstance(event, dict):
            yield event
