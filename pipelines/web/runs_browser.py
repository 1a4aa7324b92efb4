"""Runs below the root as HTML: progress, records, failures and report."""

from __future__ import annotations

import posixpath
import shlex
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa

from joyvasa.runtime.locations import is_remote
from manifests.manifest import resolve_location
from manifests.problems import ManifestError
from manifests.run.description import RunDescription
from manifests.run.folder import RunFolder
from manifests.run.manifest_file import RunManifest
from manifests.run.outcome_table import METRIC_COLUMN_PREFIX
from pipelines.report.failures import explain_failures
from pipelines.runs.selection.candidates import Criterion
from pipelines.runs.selection.options import SelectionOptions
from pipelines.runs.selection.selection import select_from_tables
from pipelines.runs.selection.selection_files import write_selection
from pipelines.web.columns import build_sliders, get_rank
from pipelines.web.confinement import RunsRoot, find_runs, open_run
from pipelines.web.limits import ByteCache, Limits
from pipelines.web.marks import Marks
from pipelines.web.records import Query, collect_failures, find_records, is_numeric, list_codes, list_sort_columns
from pipelines.web.run_rows import RunRows
from pipelines.web.run_state import read_run_state
from pipelines.web.templating import SELECTIONS, render_stateful, render_template

OPEN_RUNS = 8  # runs kept open
SLIDERS = 8  # shown first, the others on request
COLUMNS = ("record_id", "status", "error_code", "error", "warnings", "duration_s", "frames", "attempts")
INTERNAL_COLUMNS = ("sha256", "motion_file", "seconds_", "reasons", "row", "shard", "priority")
REPORT = "report/index.html"
SELECTION_FILE = "selection.parquet"
NO_MARKS = Marks()


@dataclass(frozen=True)
class RecordsView:
    """A page of records."""

    html: str  # gallery or table
    key: str  # text that changes with the records, but not with ticks, which the browser shows already
    page: int  # number of the page, from 0
    position: str  # number of records and of the page, as text
    # first, last: whether it is the first or the last page
    first: bool
    last: bool
    total: int  # number of selected records
    criteria: Sequence[Criterion]  # criteria of the selection, with the number of records that each one drops


@dataclass
class OpenedRun:
    """A run that is being viewed."""

    path: str  # path of the run folder relative to the root
    # folder, description, manifest: folder, description and manifest of the run
    folder: RunFolder
    description: RunDescription
    manifest: RunManifest
    rows: RunRows  # outcome rows
    lock: threading.Lock = field(default_factory=threading.Lock)  # lock of the rows


class RunsBrowser:
    """Renders runs; reads files below the root only."""

    def __init__(self, root: RunsRoot, limits: Limits) -> None:
        self._root, self._limits = root, limits
        self._cache: ByteCache[pa.Array] = ByteCache(limits.column_bytes)
        self._open: OrderedDict[tuple[Any, ...], OpenedRun] = OrderedDict()
        self._lock = threading.Lock()

    def list_paths(self) -> list[str]:
        """Return the paths of all runs, the newest first."""
        return [run.path for run in find_runs(self._root, self._limits)]

    def open(self, path: str) -> OpenedRun:
        """Open a run and read its current rows.

        Raises:
            ManifestError: `run_missing`, `run_unreadable`.
            InputError: `records_unreadable`.
        """
        folder = open_run(self._root, path)
        if folder is None:
            raise ManifestError("run_missing", f"{path}: no run of this name: choose another one")
        key = (path, _file_stamp(self._root, posixpath.join(path, RunFolder.RUN)))
        with self._lock:
            run = self._open.get(key)
            if run is None:
                run = OpenedRun(
                    path, folder, folder.read_description(), folder.read_manifest(), RunRows(folder, self._cache)
                )
                self._open[key] = run
            self._open.move_to_end(key)
            while len(self._open) > OPEN_RUNS:
                self._open.popitem(last=False)
        with run.lock:
            run.rows.refresh()
        return run

    def render_state(self, run: OpenedRun) -> str:
        """Render the progress of a run."""
        with run.lock:
            return render_template("state", run=read_run_state(run.folder, run.description, run.manifest, run.rows))

    def list_choices(self, run: OpenedRun) -> tuple[list[str], list[str]]:
        """Return the codes of errors and warnings, and the columns to sort by."""
        with run.lock:
            return list_codes(run.rows), list_sort_columns(run.rows)

    def render_records(self, run: OpenedRun, query: Query, marks: Marks = NO_MARKS, *, table: bool) -> RecordsView:
        """Render a page of records with their ticks, as a table or as a gallery.

        Raises:
            InputError: `condition_invalid` or `column_unknown`; `records_unreadable`.
        """
        with run.lock:
            page = find_records(run.rows, query, self._limits.table if table else self._limits.gallery)
            sortable, metrics = list_sort_columns(run.rows), sorted(run.rows.metrics, key=get_rank)
            filled = {name for row in page.rows for name, value in row.items() if value is not None}
            columns = [name for name in (*COLUMNS, *metrics) if name in filled or name == query.sort]
            numbers = [name for name in columns if is_numeric(run.rows, name)]
        if query.sort in metrics:
            metrics = [query.sort, *(name for name in metrics if name != query.sort)]
        cards = [
            {
                "row": row,
                "video": self._video_path(run, row),
                "metrics": [(name, row[name]) for name in metrics if row.get(name) is not None],
            }
            for row in page.rows
        ]
        values = {"cards": cards, "sort": query.sort, "descending": query.descending}
        values |= {"columns": columns, "numbers": numbers, "sortable": sortable}
        html = render_stateful("table" if table else "gallery", marks.reset, **values, ticks=marks.ticks)
        return RecordsView(
            html=html,
            key=repr((table, marks.reset, values)),
            page=page.number,
            position=f"{page.total:,} records, page {page.number + 1:,} of {page.pages:,}",
            first=page.number == 0,
            last=page.number + 1 >= page.pages,
            total=page.total,
            criteria=page.criteria,
        )

    def render_sliders(self, run: OpenedRun, marks: Marks) -> str:
        """Render sliders for numeric columns, at the positions of their bounds."""
        with run.lock:
            sliders = build_sliders(run.rows)
        return render_stateful("sliders", marks.reset, sliders=sliders, first=SLIDERS, bounds=marks.bounds)

    def render_selection(self, run: OpenedRun, options: SelectionOptions, records: RecordsView, marks: Marks) -> str:
        """Render the number of selected records, what each criterion costs, the command, and the ticks."""
        query = [("run", run.path), *(("status", status) for status in options.statuses)]
        query += [("where", text) for text in options.where]
        with run.lock:
            unfinished = sum(shard.n_rows for shard in run.rows.shards if shard.saved is not None)
        return render_template(
            "selection",
            selected=records.total,
            criteria=records.criteria,
            command=options.to_command([run.folder.storage.root], SELECTION_FILE),
            url=f"{SELECTIONS}/{SELECTION_FILE}?{urlencode(query)}",
            unfinished=unfinished,
            marks=marks,
            columns=self._list_columns(run),
        )

    def write_selection(self, path: str, options: SelectionOptions, target: Path) -> None:
        """Write a selection of a run to a Parquet file, as `joyvasa select` does.

        Raises:
            JoyvasaError: see `open`, `select_from_tables` and `write_selection`.
        """
        run = self.open(path)
        with run.lock:
            tables = run.rows.tables
        write_selection(select_from_tables(tables, options), str(target))

    def render_failures(self, run: OpenedRun) -> str:
        """Render the failures by code, with what to do."""
        with run.lock:
            groups = collect_failures(run.rows)
        return render_template("failures", failures=explain_failures(groups, run.folder.storage.root))

    def render_report(self, run: OpenedRun) -> str:
        """Render the page that `joyvasa report` wrote, or the command that writes it."""
        path = posixpath.normpath(posixpath.join(run.path, REPORT))
        file = self._root.shown_file(path)
        command = f"joyvasa report {shlex.quote(run.folder.storage.root)}"
        if file is None:
            return render_template("report", path="", written="", command=command)
        written = datetime.fromtimestamp(file.stat().st_mtime, UTC).strftime("%Y-%m-%d %H:%M")
        return render_template("report", path=path, written=written, command=command)

    def _list_columns(self, run: OpenedRun) -> list[str]:
        """Return the columns that conditions can name, without those that only the program needs."""
        names = (name.removeprefix(METRIC_COLUMN_PREFIX) for name in run.rows.schema.names)
        return [name for name in names if not name.startswith(INTERNAL_COLUMNS)]

    def _video_path(self, run: OpenedRun, row: dict[str, Any]) -> str | None:
        """Return the path of a record's video relative to the root; None if a browser may not load it."""
        if row.get("video"):  # the path in the row is untrusted
            path = posixpath.normpath(posixpath.join(run.path, run.folder.video_path(row["shard"], row["record_id"])))
            return path if self._root.shown_file(path) else None
        location = row.get("input_video")
        folder = run.folder.find_source_folder(run.description)
        if not location or is_remote(location) or is_remote(folder):
            return None
        path = self._root.relative_path(resolve_location(folder, location))
        return path if path and self._root.shown_file(path) else None


def _file_stamp(root: RunsRoot, path: str) -> tuple[int, ...]:
    file = root.find(path)
    if file is None:
        return ()
    status = file.stat()
    return (status.st_mtime_ns, status.st_size, status.st_ino)
