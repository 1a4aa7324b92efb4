"""The rows of a run as compressed data for the gallery, the thresholds and the scatter plot of the page.

The format is one gzip stream, as base64: the length of a JSON header (uint32, little-endian), the header, then an array
for each metric and each group column, with one entry per row. Small runs have their numbers as float64, so that
thresholds count exactly as `joyvasa select` does. Large runs have them as float16, relative to a scale: three digits.
"""

from __future__ import annotations

import base64
import gzip
import json
import struct
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from joyvasa.metrics.base import MetricColumn
from joyvasa.runtime.arrow_text import decode_text
from manifests.expressions import quote_column, quote_text
from manifests.record import file_stem
from manifests.run.outcome_table import METRIC_COLUMN_PREFIX
from pipelines.report.metrics import MetricFigures
from pipelines.report.rows import NO_VALUE, Grouping
from pipelines.report.verdict import Verdict
from pipelines.runs.selection.run_tables import shorten_column

EXACT_ROWS = 5000  # runs with more rows have rounded numbers
MAX_BYTES = 3_400_000  # of the base64 text; metrics that do not fit are left out, those that decide come first
FLOAT16_MAX = 60_000.0  # largest scaled number


@dataclass(frozen=True)
class GalleryData:
    """The data of the gallery."""

    text: str  # base64 text; see the module
    omitted: list[MetricColumn]  # metrics that did not fit
    exact: bool  # whether all numbers are exact


@dataclass(frozen=True)
class VideoLinks:
    """Links from the page to the videos."""

    hrefs: list[str] | None  # link of each row, empty for none; None if videos are in the shards of the run folder
    shards: np.ndarray  # number of the shard of each row, shape (rows,)


def encode_gallery(
    record_ids: pa.ChunkedArray,
    values: Mapping[str, np.ndarray],
    figures: Sequence[MetricFigures],
    groupings: Sequence[Grouping],
    types: Mapping[str, pa.DataType],
    links: VideoLinks,
    verdict: Verdict,
    command: str,
) -> GalleryData:
    """Encode the rows.

    Args:
        record_ids: ids of all rows.
        values: numbers by metric, NaN for missing ones, shape (rows,).
        figures: figures of the metrics that have numbers, in the order of the page.
        groupings: columns with few values, `status` first.
        types: types of all columns.
        links: links to the videos.
        verdict: verdict of the run; its checks are the first thresholds.
        command: start of the command that selects rows.
    """
    ids = [name or "" for name in decode_text(record_ids)]
    exact = len(ids) <= EXACT_ROWS
    deciding = {check.metric for check in verdict.checks}
    ordered = sorted(figures, key=lambda metric: metric.column.name not in deciding)
    while True:
        metrics = [metric for metric in figures if metric in ordered]
        header: dict[str, Any] = {
            "ids": ids,
            "exact": exact,
            "command": command,
            "metrics": [_describe_metric(metric, values[metric.column.name], types, exact) for metric in metrics],
            "groups": [_describe_group(grouping, types.get(grouping.column)) for grouping in groupings],
            "checks": [[check.metric, check.sign, check.threshold, check.problem] for check in verdict.checks],
            **_encode_links(links, ids),
        }
        arrays = [_encode_numbers(values[metric.column.name], exact) for metric in metrics]
        arrays += [grouping.codes.astype(np.uint8).tobytes() for grouping in groupings]
        text = _compress(header, arrays)
        if len(text) <= MAX_BYTES or not ordered:
            omitted = [metric.column for metric in figures if metric not in metrics]
            return GalleryData(text, omitted, exact)
        surplus = 1 - MAX_BYTES / len(text)
        ordered = ordered[: len(ordered) - max(1, round(surplus * len(ordered)))]


def _compress(header: Mapping[str, Any], arrays: Sequence[bytes]) -> str:
    encoded = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")
    content = b"".join([struct.pack("<I", len(encoded)), encoded, *arrays])
    return base64.b64encode(gzip.compress(content, 6, mtime=0)).decode()


def _scale(values: np.ndarray) -> float:
    largest = np.nanmax(np.abs(values), initial=0.0)
    return float(largest) / FLOAT16_MAX or 1.0


def _encode_numbers(values: np.ndarray, exact: bool) -> bytes:
    """Return float64, or float16 with all high bytes before all low bytes, which compresses better."""
    if exact:
        return values.astype("<f8").tobytes()
    halves = (values / _scale(values)).astype("<f2")
    return np.ascontiguousarray(halves.view(np.uint8).reshape(-1, 2)[:, ::-1].T).tobytes()


def _describe_metric(metric: MetricFigures, values: np.ndarray, names: Collection[str], exact: bool) -> dict[str, Any]:
    column = metric.column
    reference = quote_column(shorten_column(METRIC_COLUMN_PREFIX + column.name, names))
    described = {"name": column.name, "title": column.title, "unit": column.unit, "better": column.better or ""}
    described |= {"reference": reference, "measures": column.measures}
    return described | {"scale": 1.0 if exact else _scale(values)}


def _describe_group(grouping: Grouping, kind: pa.DataType | None) -> dict[str, Any]:
    """Return the values of a column with their conditions for `joyvasa select`; empty if there is none."""
    name = quote_column(grouping.column)
    is_text = kind is None or pa.types.is_string(kind) or pa.types.is_large_string(kind)
    conditions = []
    for value in grouping.values:
        if "`" in grouping.column or grouping.column in ("status", "error_code"):
            conditions.append("")
        elif value == NO_VALUE or (value == "nan" and not is_text):
            conditions.append(f"{name} is null")
        elif value in ("inf", "-inf") and not is_text:
            largest = sys.float_info.max
            conditions.append(f"{name} > {largest}" if value == "inf" else f"{name} < {-largest}")
        elif kind == pa.float32():  # conditions compare 64-bit numbers, of which the text is not the nearest
            conditions.append(f"{name} == {float(np.float32(value))!r}")
        else:
            conditions.append(f"{name} == {quote_text(value) if is_text else value}")
    return {"name": grouping.column, "values": grouping.values, "conditions": conditions}


def _encode_links(links: VideoLinks, ids: Sequence[str]) -> dict[str, Any]:
    if links.hrefs is not None:
        return {"hrefs": links.hrefs}
    starts = np.flatnonzero(np.diff(links.shards, prepend=-1))
    files = {at: stem for at, name in enumerate(ids) if (stem := file_stem(name)) != name}
    return {"shards": [[int(links.shards[at]), int(at)] for at in starts], "files": files}
