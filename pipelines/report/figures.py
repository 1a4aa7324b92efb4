"""All figures of a report as one table, written to `metrics.csv` and `metrics.parquet`."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv

from joyvasa.metrics.base import MetricColumn
from manifests.run.outcome import STATUSES
from pipelines.report.model import Report
from pipelines.report.statistics import Summary

NUMBERS = ("value", "low", "high", "median", "deviation", "minimum", "maximum")
SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in ("section", "run", "name")),
        *(
            pa.field(name, pa.string())
            for name in ("title", "unit", "better", "group_column", "group_value", "against")
        ),
        *(pa.field(name, pa.float64()) for name in NUMBERS),
        *(pa.field(name, pa.int64()) for name in ("n", "of")),
        pa.field("note", pa.string()),
    ]
)


def build_figure_table(report: Report) -> pa.Table:
    """Build the table of all figures of a report.

    `value` is the number or mean of a row, `low` to `high` its 95 % interval, `n` the number of records with a value,
    `of` the number of records considered. `section` is the kind of the row:

    - run, stage: figures of the headline; `group_value` is the stage.
    - metric: summary over all videos; group: summary over the videos with `group_value` in `group_column`; missing:
      videos without a number, for the reason `group_value`; extreme: a video of the lists, with the end of the list in
      `group_column` and the record id in `group_value`.
    - failure, warning: number of records by code, which is the `name`.
    - set: metric of the whole run; `note` states its settings.
    - compared: the same metric of another run; difference: this run minus the run `against`, over common record ids.
    - published: values of the paper, from its table `group_value` and in its units.
    """
    rows = [{"run": report.name, **row} for row in _rows(report)]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def table_to_csv(table: pa.Table) -> bytes:
    """Convert a table to CSV."""
    sink = io.BytesIO()
    pa_csv.write_csv(table, sink)
    return sink.getvalue()


def _rows(report: Report) -> Iterator[dict[str, Any]]:
    yield from _headline_rows(report)

    for figures in report.metrics:
        metric = _metric_fields(figures.column)
        yield {"section": "metric", **metric, **_summary_fields(figures.summary), "of": figures.videos}
        for column, groups in figures.groups.items():
            for group in groups:
                fields = {"group_column": column, "group_value": group.value}
                yield {"section": "group", **metric, **fields, **_summary_fields(group.summary)}
        for reason in figures.reasons:
            fields = {"group_column": "reason", "group_value": reason.code, "note": reason.sentence}
            yield {"section": "missing", **metric, **fields, "n": reason.count, "of": figures.videos}
        for end, extremes in (("worst", figures.worst), ("best", figures.best)):
            for row_index, value in extremes:
                fields = {"group_column": end, "group_value": report.views[row_index].record_id}
                yield {"section": "extreme", **metric, **fields, "value": value}

    for section, groups in (("failure", [figure.group for figure in report.failures]), ("warning", report.warnings)):
        for group in groups:
            fields = {"group_column": "stage", "group_value": group.stage, "note": group.status}
            yield {"section": section, "name": group.code, "n": group.count, "value": float(group.count), **fields}

    for figure in report.sets:
        note = figure.reason or ", ".join(f"{name}: {value}" for name, value in figure.choices.items())
        fields = {"name": figure.name, "title": figure.title, "against": figure.against}
        yield {"section": "set", **fields, "value": figure.value, "note": note}

    yield from _comparison_rows(report)


def _headline_rows(report: Report) -> Iterator[dict[str, Any]]:
    head = report.headline
    values = {
        "records": head.records,
        **{name: head.statuses.get(name, 0) for name in STATUSES},
        "pending": head.pending,
        "retried": head.retried,
        "video_hours": head.video_s / 3600,
        "frames": head.frames,
        "elapsed_s": head.elapsed_s,
        "parts": head.parts,
        "gpus": head.gpus,
        "gpu_hours": head.gpu_s / 3600,
        "frames_per_s": head.frames_per_s,
        "frames_per_gpu_s": head.frames_per_gpu_s,
        "batch_fill": head.batch_fill,
        "busy_s": head.busy_s,
        "lost_s": head.lost_s,
        "retries": head.retries,
        "workers_lost": head.worker_crashes,
    }
    for name, value in values.items():
        yield {"section": "run", "name": name, "value": None if value is None else float(value)}

    for stage in head.stages:
        share = stage.busy_s / head.busy_s if head.busy_s else None
        values = {"busy_s": stage.busy_s, "share": share, "batch_fill": stage.batch_fill, "lost_s": stage.lost_s}
        values |= {"gpu_s": stage.gpu_s, "records": stage.records, "shared": stage.shared}
        values |= {"retries": stage.retries, "workers_lost": stage.worker_crashes}
        for name, value in values.items():
            number = None if value is None else float(value)
            fields = {"group_column": "stage", "group_value": stage.name}
            yield {"section": "stage", "name": name, **fields, "value": number}


def _comparison_rows(report: Report) -> Iterator[dict[str, Any]]:
    for comparison in report.comparisons:
        for pair in comparison.pairs:
            metric = _metric_fields(pair.column)
            yield {"section": "compared", **metric, "run": comparison.name, **_summary_fields(pair.theirs)}
            fields = {**_summary_fields(pair.difference), "against": comparison.name, "note": pair.verdict}
            yield {"section": "difference", **metric, **fields, "of": comparison.shared}
    for table in report.published:
        for row in table.rows:
            for column, value in zip(table.columns, row["values"], strict=True):
                metric = {"name": column["column"], "title": column["title"], "unit": column["unit"]}
                fields = {"group_column": "table", "group_value": table.title, "note": table.note}
                yield {"section": "published", **metric, "run": row["name"], **fields, "value": value}


def _metric_fields(column: MetricColumn) -> dict[str, Any]:
    return {"name": column.name, "title": column.title, "unit": column.unit, "better": column.better or ""}


def _summary_fields(summary: Summary) -> dict[str, Any]:
    return {"value": summary.mean, **{name: getattr(summary, name) for name in (*NUMBERS[1:], "n")}}
