"""What happens in a run, one JSON object a line: `RUN/events.jsonl`."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any

from manifests.errors import ManifestError
from manifests.storage import LocalStorage, Storage, unwritable_error

EVENTS = "events.jsonl"
SEGMENTS = "events"  # folder of the segments on object stores, which cannot append
FLUSH_EVENTS = 1000
FLUSH_S = 30.0  # what a driver that dies loses at most, on an object store


class EventLog:
    """Appends events; use it as a context manager.

    On local disks each event is a line at once. On object stores events are gathered and put as
    `RUN/events/<time>.jsonl` every 30 seconds or 1000 events.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._file: FileIO | None = None
        self._gathered: list[str] = []
        self._flushed = time.monotonic()
        if isinstance(storage, LocalStorage):
            self._file = _append_to(storage.path(EVENTS))

    def __enter__(self) -> EventLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._file:
            self._file.close()
        try:
            self.flush()
        except ManifestError:
            if kind is None:  # else the first reason counts
                raise

    def write(self, event: str, **values: Any) -> None:
        """Notes one event with plain values, and when it happened; ManifestError `output_unwritable`."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"time": now, "event": event, **values}, ensure_ascii=False) + "\n"
        if self._file:
            _append(self._file, line.encode())
            return
        self._gathered.append(line)
        if len(self._gathered) >= FLUSH_EVENTS or time.monotonic() - self._flushed >= FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Puts gathered events in place."""
        if self._gathered:
            self._storage.write(f"{SEGMENTS}/{time.time_ns():020d}.jsonl", "".join(self._gathered).encode())
            self._gathered = []
        self._flushed = time.monotonic()


def _append_to(path: Path) -> FileIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b", buffering=0)  # without a buffer, which would be tried again at every later write
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        torn = size and file.read(1) != b"\n"  # a driver died within a line
    except OSError as error:
        raise unwritable_error(str(path), error) from error
    if torn:
        _append(file, b"\n")
    return file


def _append(file: FileIO, line: bytes) -> None:
    try:
        if file.write(line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # what a full disk says to the next byte
    except OSError as error:
        raise unwritable_error(str(file.name), error) from error


def read_events(storage: Storage) -> Iterator[dict[str, Any]]:
    """All events in order; lines that a dying driver tore are left out."""
    paths = [EVENTS] if storage.exists(EVENTS) else []
    paths += [f"{SEGMENTS}/{name}" for name in storage.names(SEGMENTS) if name.endswith(".jsonl")]
    for path in paths:
        with storage.open(path) as file:
            for line in file:
                try:
                    event = json.loads(line)
                except ValueError:
                    continue
                if isinstance(event, dict):
                    yield event
