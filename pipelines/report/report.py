"""Write the report of a run: a page for people, and two tables with the same figures for scripts."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from joyvasa.bundles import open_bundle
from joyvasa.errors import ConfigError
from joyvasa.metrics import FVD, METRICS_BUNDLE
from joyvasa.metrics.weights import list_weights
from manifests.run.description import RunDescription
from manifests.run.events import read_events
from manifests.run.folder import RunFolder
from manifests.run.outcome_table import encode_parquet
from manifests.scratch import scratch_folder
from manifests.storage import open_storage
from pipelines.report.comparison import compare_runs, load_published_tables
from pipelines.report.contact_sheets import make_contact_sheets
from pipelines.report.failures import explain_failures, quote_path
from pipelines.report.figures import build_figure_table, table_to_csv
from pipelines.report.gallery import GalleryData, encode_gallery
from pipelines.report.headline import build_headline
from pipelines.report.metrics import MetricFigures, compute_metric_figures
from pipelines.report.model import Report
from pipelines.report.page import render_page
from pipelines.report.plots import DOTS_BELOW, RUN_COLORS, Plot, draw_distribution, draw_dots
from pipelines.report.provenance import build_provenance
from pipelines.report.records import (
    MAX_SHEETS,
    build_record_views,
    find_video_links,
    rank_by_importance,
    select_sheet_sources,
)
from pipelines.report.rows import OutcomeRows, ProgressCallback, ignore_progress
from pipelines.report.sets import SetFigure, compute_set_figures
from pipelines.report.statistics import Bootstrap, compute_histogram, compute_histogram_edges
from pipelines.report.verdict import Verdict, judge_run, load_checks

MAX_COMPARED = len(RUN_COLORS) - 1
PAGE, CSV, PARQUET = (f"{RunFolder.REPORT}/{name}" for name in ("index.html", "metrics.csv", "metrics.parquet"))


@dataclass(frozen=True)
class ReportFiles:
    """The files of a report: absolute local paths or URIs."""

    page: str
    csv: str
    parquet: str


@dataclass(frozen=True)
class _Run:
    name: str
    location: str
    folder: RunFolder
    description: RunDescription
    rows: OutcomeRows


def write_report(
    run: str, compared: Sequence[str] = (), *, on_progress: ProgressCallback = ignore_progress
) -> ReportFiles:
    """Write the report on the finished shards of a run to its folder; an older report is replaced.

    Args:
        run: run folder; a path or URI.
        compared: folders of other runs.
        on_progress: callback for progress.

    Raises:
        ConfigError: `config_invalid` if there are too many runs.
        ManifestError: `run_missing`, `run_unreadable`, `output_unwritable`.
        InputError: `records_unreadable`.
        EnvironmentFault: `ffmpeg_missing`.
    """
    storage = open_storage(run)
    RunFolder(storage).read_description()
    storage.require_writable(PAGE)
    report = build_report(run, compared, on_progress=on_progress)
    table = build_figure_table(report)
    storage.write(PARQUET, encode_parquet(table))
    storage.write(CSV, table_to_csv(table))
    storage.write(PAGE, render_page(report))
    return ReportFiles(*(storage.location(path) for path in (PAGE, CSV, PARQUET)))


def build_report(run: str, compared: Sequence[str] = (), *, on_progress: ProgressCallback = ignore_progress) -> Report:
    """Compute all figures of a report without writing them; arguments and errors as in `write_report`."""
    if len(compared) > MAX_COMPARED:
        raise ConfigError("config_invalid", f"{len(compared)} runs to compare with; expected at most {MAX_COMPARED}")
    with ExitStack() as stack:
        found = [(location, _find_run(location)) for location in (run, *compared)]
        ours, *others = [_read_run(location, *item, stack, on_progress) for location, item in found]
        others = _rename_duplicates(ours, others)

        bootstrap = Bootstrap()
        n_records = ours.folder.read_manifest().records
        metrics = compute_metric_figures(ours.rows, bootstrap)
        failures = explain_failures(ours.rows.find_failures(), ours.folder.storage.root)
        verdict = judge_run(ours.rows, metrics, failures, load_checks())
        gallery = _encode_rows(ours, metrics, verdict)
        order = rank_by_importance(metrics)
        if ours.rows.n_rows <= MAX_SHEETS:  # all videos have a strip
            order = [*dict.fromkeys([*order, *np.flatnonzero(ours.rows.find_videos()).tolist()])]
        views = build_record_views(ours.rows, ours.folder, ours.description, order)
        sets = compute_set_figures(run, [(other.name, other.location) for other in others], metrics)

        return Report(
            name=ours.name,
            description=ours.description,
            headline=build_headline(ours.rows, read_events(ours.folder.storage), records=n_records),
            metrics=metrics,
            plots=dict(_draw_plots(metrics, ours, others)),
            views=views,
            sheets=make_contact_sheets(select_sheet_sources(views, order), on_progress=on_progress),
            failures=failures,
            warnings=ours.rows.find_warnings(),
            sets=sets,
            comparisons=[compare_runs(ours.rows, other.rows, other.name, bootstrap) for other in others],
            published=load_published_tables(_collect_means(ours, others, metrics, sets)),
            provenance=build_provenance(ours.description, ours.rows, metrics, ours.folder.storage.root),
            verdict=verdict,
            gallery=gallery,
            weights=list_weights(open_bundle(METRICS_BUNDLE)),
        )


def _find_run(location: str) -> tuple[RunFolder, RunDescription]:
    folder = RunFolder(open_storage(location))
    return folder, folder.read_description()


def _read_run(
    location: str, folder: RunFolder, description: RunDescription, stack: ExitStack, on_progress: ProgressCallback
) -> _Run:
    rows = OutcomeRows(folder, stack.enter_context(scratch_folder()))
    rows.read(on_progress)
    name = description.name or posixpath.basename(folder.storage.root) or folder.storage.root
    return _Run(name, location, folder, description, rows)


def _encode_rows(run: _Run, metrics: Sequence[MetricFigures], verdict: Verdict) -> GalleryData:
    rows = run.rows
    measured = [metric for metric in metrics if metric.summary.n]
    groupings = [*rows.find_status_groupings(), *rows.find_groupings()]
    return encode_gallery(
        rows.read_record_ids(),
        {metric.column.name: rows.read_metric(metric.column.name) for metric in measured},
        measured,
        groupings,
        rows.types,
        find_video_links(rows, run.folder, run.description),
        verdict,
        f"joyvasa select {quote_path(run.folder.storage.root)}",
    )


def _rename_duplicates(ours: _Run, others: Sequence[_Run]) -> list[_Run]:
    """Return the other runs with unique names."""
    names, renamed = {ours.name}, []
    for other in others:
        name = other.name
        for number in count(2):
            if name not in names:
                break
            name = f"{other.name} ({number})"
        names.add(name)
        renamed.append(replace(other, name=name))
    return renamed


def _draw_plots(metrics: Sequence[MetricFigures], ours: _Run, others: Sequence[_Run]) -> Iterator[tuple[str, Plot]]:
    for metric in metrics:
        sets = [run.rows.read_metric(metric.column.name) for run in (ours, *others)]
        label = f"Distribution of {metric.column.title}"
        if metric.summary.n and all(np.isfinite(values).sum() < DOTS_BELOW for values in sets):
            yield metric.column.name, draw_dots(sets, metric.summary, label=label)
            continue
        edges = compute_histogram_edges(sets)
        if metric.summary.n and edges is not None:
            first, *rest = [compute_histogram(values, edges) for values in sets]
            yield metric.column.name, draw_distribution(first, metric.summary, rest, label=label)


def _collect_means(
    ours: _Run, others: Sequence[_Run], metrics: Sequence[MetricFigures], sets: Sequence[SetFigure]
) -> dict[str, dict[str, float]]:
    """Return the means by run and column, and the FVD of this run if it was measured against exactly one reference."""
    means = {ours.name: {entry.column.name: entry.summary.mean for entry in metrics if entry.summary.mean is not None}}
    distances = [figure.value for figure in sets if figure.name == FVD and figure.value is not None]
    if len(distances) == 1:
        means[ours.name][FVD] = distances[0]
    for other in others:
        values = {name: other.rows.read_metric(name) for name in other.rows.metrics}
        means[other.name] = {name: float(np.nanmean(v)) for name, v in values.items() if np.isfinite(v).any()}
    return means
