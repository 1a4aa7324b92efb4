"""The outcome rows of a run as columns on a scratch disk: memory is that of one column, however many rows there are."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from manifests.run.folder import RunFolder
from manifests.run.outcome_table import METRIC, METRIC_REASONS, SECONDS
from pipelines.report.column_files import ColumnFiles, read_column
from pipelines.report.grouping import Grouping, Groups

KEY_BYTES = 16  # of a record id's hash; two of a billion ids share one with a chance of 1e-21
MAX_CODES = 40  # kinds of failures, reasons or warnings that are told apart
EXAMPLES = 5  # of each kind of failure
NOT_FINITE = "not_finite: the number is infinite or none"

Progress = Callable[[str, int, int], None]
"""Hears what is done, how much of it, and of how much."""


def silent(what: str, done: int, total: int) -> None:
    """Nobody listens."""


@dataclass
class Kind:
    """Records that ended, or were warned of, for one reason.

    Args:
        code: stable name of the reason.
        status: of the records.
        stage: where they ended.
        count: of records.
        examples: of outcome rows: `record_id`, `row`, `text`.
    """

    code: str
    status: str
    stage: str
    count: int = 0
    examples: list[dict[str, Any]] = field(default_factory=list)


class RunRows:
    """Reads the outcome rows of all finished shards once; use it as a context manager, which owns its scratch folder.

    Args:
        folder: of the run.
        scratch: an empty local folder for the columns; the caller removes it.

    Attributes:
        n_rows: records in finished shards.
        statuses: how many ended how.
        seconds: sums by stage.
        frames, duration_s: sums over the videos.
        metrics: names of columns with numbers, in the order of the tables.
        failures, warnings: kinds of them, by what tells them apart.
        reasons: why videos have no number: by metric and code, how many and one sentence.
        licences, bundles: of the videos, with numbers of records.
    """

    def __init__(self, folder: RunFolder, scratch: Path) -> None:
        self._folder, self._scratch = folder, scratch
        self.n_rows = 0
        self.statuses: Counter[str] = Counter()
        self.seconds: dict[str, float] = {}
        self.frames, self.duration_s = 0, 0.0
        self.retried = 0
        self.metrics: list[str] = []
        self.failures: dict[tuple[str, ...], Kind] = {}
        self.warnings: dict[tuple[str, ...], Kind] = {}
        self.reasons: dict[str, dict[str, tuple[int, str]]] = {}
        self.licences: Counter[str] = Counter()
        self.bundles: Counter[str] = Counter()
        self._starts: list[tuple[int, int]] = []  # first row and number of each shard
        self._groups = Groups()

    def read(self, on_progress: Progress = silent) -> None:
        """Reads all rows; to be called once.

        Raises:
            ManifestError: `records_unreadable`.
            OSError: the scratch disk is full.
        """
        shards = sorted(self._folder.done_marks())
        with ExitStack() as files:
            columns = ColumnFiles(self._scratch, files)
            for number, shard in enumerate(shards):
                self._take(shard, self._folder.records(shard), columns)
                on_progress("rows", number + 1, len(shards))
            columns.pad(self.n_rows)
        self.metrics = [name.removeprefix(METRIC) for name in columns.names if name.startswith(METRIC)]

    def metric(self, name: str) -> np.ndarray:
        """Numbers of one metric, NaN where there is none: float64, shape (rows,)."""
        if name not in self.metrics:
            return np.full(self.n_rows, np.nan)
        return read_column(self._scratch, METRIC + name, np.dtype(np.float64))

    def keys(self) -> np.ndarray:
        """Hashes of the record ids, shape (rows,); equal ids have equal hashes in every run."""
        return read_column(self._scratch, "keys", np.dtype(f"S{KEY_BYTES}"))

    def videos(self) -> np.ndarray:
        """Whether there is a video: bool, shape (rows,)."""
        return read_column(self._scratch, "ok", np.dtype(bool))

    def groupings(self) -> list[Grouping]:
        """The columns whose few values the rows can be sorted by; those with one value alone say nothing."""
        return self._groups.found()

    def rows(self, places: Iterable[int], columns: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Some rows, read again; each shard once.

        Args:
            places: of the rows, from 0.
            columns: that are wanted; `shard` is always there.
        """
        starts = np.array([start for start, _ in self._starts])
        wanted: dict[int, list[int]] = {}
        for place in sorted(set(places)):
            wanted.setdefault(int(np.searchsorted(starts, place, side="right")) - 1, []).append(place)
        for at, chosen in wanted.items():
            start, shard = self._starts[at]
            table = self._folder.records(shard, [*columns, "shard"])
            for place, row in zip(chosen, table.take([p - start for p in chosen]).to_pylist(), strict=True):
                yield place, row

    def _take(self, shard: int, table: pa.Table, columns: ColumnFiles) -> None:
        self._starts.append((self.n_rows, shard))
        statuses = table.column("status").to_pylist()
        ok = np.array([status == "ok" for status in statuses], bool)
        self.statuses.update(statuses)
        columns.add("ok", ok, self.n_rows)
        keys = [_key(name) for name in table.column("record_id").to_pylist()]
        columns.add("keys", np.array(keys, dtype=f"S{KEY_BYTES}"), self.n_rows)
        for name in table.column_names:
            if name.startswith(METRIC) and name != METRIC_REASONS:
                values = _floats(table, name)
                values[~ok] = np.nan
                self._count_not_finite(name.removeprefix(METRIC), values)
                columns.add(name, values, self.n_rows)
            elif name.startswith(SECONDS):
                stage = name.removeprefix(SECONDS)
                self.seconds[stage] = self.seconds.get(stage, 0.0) + float(np.nansum(_floats(table, name)))
        self.frames += int(np.nansum(_floats(table, "frames")[ok]))
        self.duration_s += float(np.nansum(_floats(table, "duration_s")[ok]))
        self.retried += int(np.nansum(_floats(table, "attempts") > 1))
        self._count_reasons(table, ok)
        self._count_failures(table, ok)
        self._count_warnings(table)
        self._count_licences(table)
        self._groups.take(table)
        self.n_rows += table.num_rows

    def _count_not_finite(self, metric: str, values: np.ndarray) -> None:
        infinite = np.isinf(values)
        if infinite.any():
            self._count_reason(metric, NOT_FINITE, int(infinite.sum()))
            values[infinite] = np.nan

    def _count_reasons(self, table: pa.Table, ok: np.ndarray) -> None:
        if METRIC_REASONS not in table.column_names:
            return
        texts = Counter(
            text for text, made in zip(table.column(METRIC_REASONS).to_pylist(), ok, strict=True) if made and text
        )
        for text, count in texts.items():  # most records of a run lack the same numbers for the same reasons
            try:
                reasons = json.loads(text)
            except ValueError:
                continue
            for metric, reason in reasons.items() if isinstance(reasons, dict) else ():
                self._count_reason(str(metric), str(reason), count)

    def _count_reason(self, metric: str, reason: str, count: int) -> None:
        code, _, sentence = reason.partition(": ")
        known = self.reasons.setdefault(metric, {})
        code = code if code in known or len(known) < MAX_CODES else "other"
        before, example = known.get(code, (0, sentence))
        known[code] = (before + count, example)

    def _count_failures(self, table: pa.Table, ok: np.ndarray) -> None:
        if ok.all():
            return
        names = ["record_id", "status", "stage", "error_code", "error", "row"]
        for row in table.select(names).filter(pa.array(~ok)).to_pylist():
            kind = Kind(row["error_code"] or "unknown", row["status"], row["stage"] or "")
            _count(self.failures, kind, row, row["error"])

    def _count_warnings(self, table: pa.Table) -> None:
        if "warning_codes" not in table.column_names:
            return
        warned = table.select(["record_id", "row", "warning_codes", "warnings"])
        warned = warned.filter(table.column("warning_codes").is_valid())
        for row in warned.to_pylist():
            for code in dict.fromkeys(row["warning_codes"].split(",")):
                _count(self.warnings, Kind(code, "", ""), row, row["warnings"])

    def _count_licences(self, table: pa.Table) -> None:
        for name, count in Counter(
            name for names in table.column("licences").to_pylist() for name in names or ()
        ).items():
            _add(self.licences, name, count)
        for name, count in Counter(name for name in table.column("bundle").to_pylist() if name).items():
            _add(self.bundles, name, count)


def _key(record_id: str) -> bytes:
    return hashlib.blake2b(record_id.encode(), digest_size=KEY_BYTES).digest()


def _floats(table: pa.Table, name: str) -> np.ndarray:
    """A column of numbers with NaN for nulls: float64, a copy."""
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    return np.array(table.column(name).cast(pa.float64()).to_numpy(), np.float64)


def _count(kinds: dict[tuple[str, ...], Kind], kind: Kind, row: dict[str, Any], text: str | None) -> None:
    key = (kind.status, kind.stage, kind.code)
    if key not in kinds and len(kinds) >= MAX_CODES:
        key, kind = ("other",), Kind("other", "", "")
    known = kinds.setdefault(key, kind)
    known.count += 1
    if len(known.examples) < EXAMPLES:
        known.examples.append({"record_id": row["record_id"], "row": row["row"], "text": text or ""})


def _add(counter: Counter[str], name: str, count: int) -> None:
    counter[name if name in counter or len(counter) < MAX_CODES else "other"] += count
