"""A run folder becomes a page that a person reads and two tables that a script reads."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from joyvasa.errors import ConfigError
from joyvasa.metrics import FVD
from manifests.run.description import RunDescription
from manifests.run.events import read_events
from manifests.run.folder import RunFolder
from manifests.run.outcome_table import encode_parquet
from manifests.scratch import scratch_folder
from manifests.storage import open_storage
from pipelines.report.comparison import compare, published_tables
from pipelines.report.contact_sheets import contact_sheets
from pipelines.report.failures import failure_figures
from pipelines.report.figures import csv_bytes, figure_table
from pipelines.report.headline import headline
from pipelines.report.metrics import MetricFigures, metric_figures
from pipelines.report.model import Report
from pipelines.report.page import page_bytes
from pipelines.report.plots import RUN_COLOURS, Plot, distribution_plot
from pipelines.report.provenance import provenance
from pipelines.report.records import REPORT, by_importance, record_views, sheet_sources
from pipelines.report.rows import Progress, RunRows, silent
from pipelines.report.sets import SetFigure, set_figures
from pipelines.report.statistics import Bootstrap, histogram, histogram_edges

MAX_COMPARED = len(RUN_COLOURS) - 1
PAGE, CSV, PARQUET = f"{REPORT}/index.html", f"{REPORT}/metrics.csv", f"{REPORT}/metrics.parquet"


@dataclass(frozen=True)
class ReportFiles:
    """Where a report lies: absolute local paths or URIs."""

    page: str
    csv: str
    parquet: str


@dataclass(frozen=True)
class _Run:
    name: str
    location: str
    folder: RunFolder
    description: RunDescription
    rows: RunRows


def write_report(run: str, compared: Sequence[str] = (), *, on_progress: Progress = silent) -> ReportFiles:
    """Reports on the finished shards of a run, into its folder; an older report is replaced.

    Args:
        run: the run folder; a path or URI.
        compared: folders of other runs.
        on_progress: hears how far it is.

    Raises:
        ConfigError: `config_invalid`, too many runs.
        ManifestError: `run_missing`, `run_unreadable`, `output_unwritable`.
        InputError: `records_unreadable`.
        EnvironmentFault: `ffmpeg_missing`.
    """
    report = make_report(run, compared, on_progress=on_progress)
    table = figure_table(report)
    storage = open_storage(run)
    storage.write(PARQUET, encode_parquet(table))
    storage.write(CSV, csv_bytes(table))
    storage.write(PAGE, page_bytes(report))
    return ReportFiles(*(storage.location(path) for path in (PAGE, CSV, PARQUET)))


def make_report(run: str, compared: Sequence[str] = (), *, on_progress: Progress = silent) -> Report:
    """Reads runs and works out all figures; as `write_report`, but nothing is written."""
    if len(compared) > MAX_COMPARED:
        raise ConfigError("config_invalid", f"{len(compared)} runs to compare with; expected at most {MAX_COMPARED}")
    with ExitStack() as stack:
        ours, *others = [_read(location, stack, on_progress) for location in (run, *compared)]
        others = _named_apart(ours, others)
        bootstrap = Bootstrap()
        metrics = metric_figures(ours.rows, bootstrap)
        order = by_importance(metrics)
        views = record_views(ours.rows, ours.folder, ours.description, order)
        sets = set_figures(run, [(other.name, other.location) for other in others], metrics)
        return Report(
            name=ours.name,
            description=ours.description,
            headline=headline(ours.rows, read_events(ours.folder.storage), records=ours.folder.read_manifest().records),
            metrics=metrics,
            plots=dict(_plots(metrics, ours, others)),
            views=views,
            sheets=contact_sheets(sheet_sources(views, order), on_progress=on_progress),
            failures=failure_figures(ours.rows.failures(), run),
            warnings=ours.rows.warnings(),
            sets=sets,
            comparisons=[compare(ours.rows, other.rows, other.name, bootstrap) for other in others],
            published=published_tables(_means(ours, others, metrics, sets)),
            provenance=provenance(ours.description, ours.rows, metrics, ours.folder.storage.root),
        )


def _read(location: str, stack: ExitStack, on_progress: Progress) -> _Run:
    folder = RunFolder(open_storage(location))
    description = folder.read_description()
    rows = RunRows(folder, stack.enter_context(scratch_folder()))
    rows.read(on_progress)
    name = description.name or posixpath.basename(folder.storage.root) or folder.storage.root
    return _Run(name, location, folder, description, rows)


def _named_apart(ours: _Run, others: Sequence[_Run]) -> list[_Run]:
    """The other runs with names that tell them from each other and from this one."""
    taken, found = {ours.name}, []
    for other in others:
        name = other.name
        for number in count(2):
            if name not in taken:
                break
            name = f"{other.name} ({number})"
        taken.add(name)
        found.append(replace(other, name=name))
    return found


def _plots(metrics: Sequence[MetricFigures], ours: _Run, others: Sequence[_Run]) -> Iterator[tuple[str, Plot]]:
    for one in metrics:
        sets = [run.rows.metric(one.column.name) for run in (ours, *others)]
        edges = histogram_edges(sets)
        if one.summary.n and edges is not None:
            first, *rest = [histogram(values, edges) for values in sets]
            label = f"Distribution of {one.column.title}"
            yield one.column.name, distribution_plot(first, one.summary, rest, label=label)


def _means(
    ours: _Run, others: Sequence[_Run], metrics: Sequence[MetricFigures], sets: Sequence[SetFigure]
) -> dict[str, dict[str, float]]:
    """Means by run and column; FVD where there is one reference that it could be measured against."""
    means = {ours.name: {one.column.name: one.summary.mean for one in metrics if one.summary.mean is not None}}
    distances = [one.value for one in sets if one.name == FVD and one.value is not None]
    if len(distances) == 1:
        means[ours.name][FVD] = distances[0]
    for other in others:
        found = {name: other.rows.metric(name) for name in other.rows.metrics}
        means[other.name] = {name: float(np.nanmean(v)) for name, v in found.items() if np.isfinite(v).any()}
    return means
