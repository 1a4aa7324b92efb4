"""Runs below the root as a visitor sees them: progress, records, failures and report, as HTML."""

from __future__ import annotations

import posixpath
import shlex
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from manifests.errors import ManifestError
from manifests.manifest import is_remote, resolve_location
from manifests.run.description import RunDescription
from manifests.run.folder import RunFolder
from manifests.run.manifest_file import RunManifest
from pipelines.report.failures import failure_figures
from pipelines.web.confined import Root
from pipelines.web.limits import Limits
from pipelines.web.records import Query, codes, failures, find_records, is_number, sort_columns
from pipelines.web.render import render
from pipelines.web.run_list import find_runs, open_run
from pipelines.web.run_parts import ColumnCache, RunParts
from pipelines.web.run_state import run_state

OPEN_RUNS = 8  # that are kept open at once
COLUMNS = ("record_id", "status", "error_code", "error", "warnings", "duration_s", "frames", "attempts")
REPORT = "report/index.html"


@dataclass(frozen=True)
class RecordsView:
    """A page of records.

    Attributes:
        html: of the gallery or the table.
        page: number of the page, from 0.
        place: where in the whole it is, in words.
        first, last: whether it is the first page, or the last.
    """

    html: str
    page: int
    place: str
    first: bool
    last: bool


@dataclass
class OpenRun:
    """A run that somebody looks at.

    Attributes:
        path: below the root.
        folder, description, manifest: of the run.
        parts: its rows.
        lock: held while they are read.
    """

    path: str
    folder: RunFolder
    description: RunDescription
    manifest: RunManifest
    parts: RunParts
    lock: threading.Lock = field(default_factory=threading.Lock)


class RunsBrowser:
    """Shows runs; nothing is read that lies elsewhere.

    Args:
        root: below which they lie.
        limits: of what is listed, shown and kept.
    """

    def __init__(self, root: Root, limits: Limits) -> None:
        self._root, self._limits = root, limits
        self._cache = ColumnCache(limits.column_bytes)
        self._open: OrderedDict[tuple[Any, ...], OpenRun] = OrderedDict()
        self._lock = threading.Lock()

    def paths(self) -> list[str]:
        """Of all runs, the newest first."""
        return [run.path for run in find_runs(self._root, self._limits)]

    def open(self, path: str) -> OpenRun:
        """A run, its rows as they are now.

        Raises:
            ManifestError: `run_missing`, `run_unreadable`.
            InputError: `records_unreadable`.
        """
        folder = open_run(self._root, path)
        if folder is None:
            raise ManifestError("run_missing", f"{path}: no run of this name below the root: choose another one")
        key = (path, _stamp(self._root, posixpath.join(path, RunFolder.RUN)))
        with self._lock:
            run = self._open.get(key)
            if run is None:
                run = OpenRun(path, folder, folder.read_description(), folder.read_manifest(), RunParts(folder, self._cache))
                self._open[key] = run
            self._open.move_to_end(key)
            while len(self._open) > OPEN_RUNS:
                self._open.popitem(last=False)
        with run.lock:
            run.parts.refresh()
        return run

    def state(self, run: OpenRun) -> str:
        """How far it is."""
        with run.lock:
            return render("state", run=run_state(run.folder, run.description, run.manifest, run.parts))

    def choices(self, run: OpenRun) -> tuple[list[str], list[str]]:
        """Codes of errors and warnings, and columns to sort by."""
        with run.lock:
            return codes(run.parts), sort_columns(run.parts)

    def records(self, run: OpenRun, query: Query, *, table: bool) -> RecordsView:
        """A page of records, as a table or as a gallery."""
        with run.lock:
            page = find_records(run.parts, query, self._limits.table if table else self._limits.gallery)
            sortable, metrics = sort_columns(run.parts), run.parts.metrics
            filled = {name for row in page.rows for name, value in row.items() if value is not None}
            columns = [name for name in (*COLUMNS, *metrics) if name in filled or name == query.sort]
            numbers = {name for name in columns if is_number(run.parts, name)}
        if query.sort in metrics:
            metrics = [query.sort, *(name for name in metrics if name != query.sort)]
        cards = [
            {
                "row": row,
                "video": self._video(run, row),
                "metrics": [(name, row[name]) for name in metrics if row.get(name) is not None],
            }
            for row in page.rows
        ]
        shown = {"columns": columns, "numbers": numbers, "sortable": sortable}
        html = render(
            "table" if table else "gallery", cards=cards, sort=query.sort, descending=query.descending, **shown
        )
        place = f"{page.total:,} records, page {page.number + 1:,} of {page.pages:,}"
        return RecordsView(html, page.number, place, page.number == 0, page.number + 1 >= page.pages)

    def failures(self, run: OpenRun) -> str:
        """Failures by code, with what to do."""
        with run.lock:
            groups = failures(run.parts)
        return render("failures", failures=failure_figures(groups, run.folder.storage.root))

    def report(self, run: OpenRun) -> str:
        """The page that `joyvasa report` wrote, or how to write one."""
        path = posixpath.normpath(posixpath.join(run.path, REPORT))
        found = self._root.shown_file(path)
        command = f"joyvasa report {shlex.quote(run.folder.storage.root)}"
        if found is None:
            return render("report", path="", written="", command=command)
        written = datetime.fromtimestamp(found.stat().st_mtime, UTC).strftime("%Y-%m-%d %H:%M")
        return render("report", path=path, written=written, command=command)

    def _video(self, run: OpenRun, row: dict[str, Any]) -> str | None:
        """Where below the root the video of a record lies; None where a browser cannot have it."""
        if row.get("video"):  # not what the row says, which may lead anywhere
            path = posixpath.normpath(posixpath.join(run.path, run.folder.video_path(row["shard"], row["record_id"])))
            return path if self._root.shown_file(path) else None
        named = row.get("input_video")
        folder = run.description.manifest.folder
        if not named or is_remote(named) or is_remote(folder):
            return None
        path = self._root.address(resolve_location(folder, named))
        return path if path and self._root.shown_file(path) else None


def _stamp(root: Root, path: str) -> tuple[int, ...]:
    found = root.find(path)
    if found is None:
        return ()
    status = found.stat()
    return (status.st_mtime_ns, status.st_size, status.st_ino)
