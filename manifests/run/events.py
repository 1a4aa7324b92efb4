"""Event log of a run, `RUN/events.jsonl`, with one JSON object per line."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any

from joyvasa.runtime.json_text import format_json
from joyvasa.runtime.parsing import parse_json
from manifests.problems import ManifestError
from manifests.storage import LocalStorage, Storage, unwritable_error

EVENTS = "events.jsonl"
SEGMENTS = "events"  # folder of log segments on object stores, which do not support appending
FLUSH_EVENTS = 1000
FLUSH_S = 30.0  # events of this time can be lost on an object store if the driver crashes


class EventLog:
    """Appends events; use it as a context manager.

    On local disks each event is written at once. On object stores events are buffered and written to
    `RUN/events/<time>.jsonl` every 30 seconds or 1000 events.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._file: FileIO | None = None
        self._buffer: list[str] = []
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
            if kind is None:  # otherwise the first exception is raised
                raise

    def write(self, event: str, **values: Any) -> None:
        """Write an event with its time and plain values; raises ManifestError `output_unwritable`."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = format_json({"time": now, "event": event, **values}, ensure_ascii=False) + "\n"
        if self._file:
            _append(self._file, line.encode())
            return
        self._buffer.append(line)
        if len(self._buffer) >= FLUSH_EVENTS or time.monotonic() - self._flushed >= FLUSH_S:
            self.flush()

    def flush(self) -> None:
        """Write buffered events."""
        if self._buffer:
            self._storage.write(f"{SEGMENTS}/{time.time_ns():020d}.jsonl", "".join(self._buffer).encode())
            self._buffer = []
        self._flushed = time.monotonic()


def _append_to(path: Path) -> FileIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b", buffering=0)  # a buffer that cannot be written would fail again at every later write
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 1, 0))
        incomplete = size and file.read(1) != b"\n"  # a driver crashed while writing a line
    except OSError as error:
        raise unwritable_error(str(path), error) from error
    if incomplete:
        _append(file, b"\n")
    return file


def _append(file: FileIO, line: bytes) -> None:
    try:
        if file.write(line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # a full disk truncates a write
    except OSError as error:
        raise unwritable_error(str(file.name), error) from error


def read_events(storage: Storage) -> Iterator[dict[str, Any]]:
    """Yield all events in order; incomplete lines of a crashed driver are skipped."""
    paths = [EVENTS] if storage.exists(EVENTS) else []
    paths += [f"{SEGMENTS}/{name}" for name in storage.names(SEGMENTS) if name.endswith(".jsonl")]
    for path in paths:
        with storage.open(path) as file:
            yield from parse_events(file)


def parse_events(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the events in lines of the log; incomplete ones, cut or being written, are skipped."""
    for line in lines:
        with suppress(ValueError):
            if isinstance(event := parse_json(line), dict):
                yield event
