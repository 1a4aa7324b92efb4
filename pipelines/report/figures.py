"""Every figure of the page as rows of one table: `metrics.csv` and `metrics.parquet`."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv

from pipelines.report.model import Report
from pipelines.report.statistics import Summary

SCHEMA = pa.schema(
    [
        pa.field("section", pa.string(), nullable=False),
        pa.field("run", pa.string(), nullable=False),
        pa.field("name", pa.string(), nullable=False),
        pa.field("title", pa.string()),
        pa.field("unit", pa.string()),
        pa.field("better", pa.string()),
        pa.field("group_column", pa.string()),
        pa.field("group_value", pa.string()),
        pa.field("against", pa.string()),
        pa.field("value", pa.float64()),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
        pa.field("median", pa.float64()),
        pa.field("deviation", pa.float64()),
        pa.field("minimum", pa.float64()),
        pa.field("maximum", pa.float64()),
        pa.field("n", pa.int64()),
        pa.field("of", pa.int64()),
        pa.field("note", pa.string()),
    ]
)


def figure_table(report: Report) -> pa.Table:
    """The figures of a report.

    `section` says what a row is, `value` is its number or mean, `low` to `high` its 95 % interval, `n` the records
    behind it, `of` those that could have been:

    - run, stage: the headline; `group_value` is the stage.
    - metric: over all videos. group: those with `group_value` in `group_column`. missing: videos without a number, for
      the reason `group_value`. extreme: the videos of the lists; `group_column` says which end, `group_value` the id.
    - failure, warning: records by code, `name`.
    - set: of a whole run; `note` has the choices behind it.
    - compared: the same metric of another run; difference: this run less the run `against`, over common record ids.
    - published: of the paper, table `group_value`, in its units.
    """
    rows = [{"run": report.name, **row} for row in _rows(report)]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def csv_bytes(table: pa.Table) -> bytes:
    """A table as a CSV file."""
    sink = io.BytesIO()
    pa_csv.write_csv(table, sink)
    return sink.getvalue()


def _rows(report: Report) -> Iterator[dict[str, Any]]:
    yield from _headline(report)
    for one in report.metrics:
        named = {"name": one.column.name, "title": one.column.title, "unit": one.column.unit}
        named["better"] = one.column.better or ""
        yield {"section": "metric", **named, **_numbers(one.summary), "of": one.videos}
        for column, groups in one.groups.items():
            for group in groups:
                place = {"group_column": column, "group_value": group.value}
                yield {"section": "group", **named, **place, **_numbers(group.summary)}
        for reason in one.reasons:
            place = {"group_column": "reason", "group_value": reason.code, "note": reason.sentence}
            yield {"section": "missing", **named, **place, "n": reason.count, "of": one.videos}
        for end, extremes in (("worst", one.worst), ("best", one.best)):
            for at, value in extremes:
                place = {"group_column": end, "group_value": report.views[at].record_id}
                yield {"section": "extreme", **named, **place, "value": value}
    for section, groups in (("failure", [one.group for one in report.failures]), ("warning", report.warnings)):
        for group in groups:
            place = {"group_column": "stage", "group_value": group.stage, "note": group.status}
            yield {"section": section, "name": group.code, "n": group.count, "value": float(group.count), **place}
    for one in report.sets:
        note = one.reason or ", ".join(f"{name}: {value}" for name, value in one.choices.items())
        title = {"name": one.name, "title": one.title, "against": one.against}
        yield {"section": "set", **title, "value": one.value, "note": note}
    yield from _compared(report)


def _headline(report: Report) -> Iterator[dict[str, Any]]:
    head = report.headline
    amounts = {
        "records": head.records,
        **{name: head.statuses.get(name, 0) for name in ("ok", "failed", "quarantined")},
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
    for name, value in amounts.items():
        yield {"section": "run", "name": name, "value": None if value is None else float(value)}
    for stage in head.stages:
        share = stage.busy_s / head.busy_s if head.busy_s else None
        measured = {"busy_s": stage.busy_s, "share": share, "batch_fill": stage.batch_fill, "lost_s": stage.lost_s}
        measured |= {"gpu_s": stage.gpu_s, "records": stage.records, "shared": stage.shared}
        measured |= {"retries": stage.retries, "workers_lost": stage.worker_crashes}
        for name, value in measured.items():
            number = None if value is None else float(value)
            place = {"group_column": "stage", "group_value": stage.name}
            yield {"section": "stage", "name": name, **place, "value": number}


def _compared(report: Report) -> Iterator[dict[str, Any]]:
    for comparison in report.comparisons:
        for pair in comparison.pairs:
            named = {"name": pair.column.name, "title": pair.column.title, "unit": pair.column.unit}
            named["better"] = pair.column.better or ""
            yield {"section": "compared", **named, "run": comparison.name, **_numbers(pair.theirs)}
            found = {**_numbers(pair.difference), "against": comparison.name, "note": pair.verdict}
            yield {"section": "difference", **named, **found, "of": comparison.shared}
    for table in report.published:
        for row in table.rows:
            for column, value in zip(table.columns, row["values"], strict=True):
                named = {"name": column["column"], "title": column["title"], "unit": column["unit"]}
                place = {"group_column": "table", "group_value": table.title, "note": table.note}
                yield {"section": "published", **named, "run": row["name"], **place, "value": value}


def _numbers(summary: Summary) -> dict[str, Any]:
    names = ("low", "high", "median", "deviation", "minimum", "maximum", "n")
    return {"value": summary.mean, **{name: getattr(summary, name) for name in names}}
