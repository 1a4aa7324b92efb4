"""Select rows of finished runs by conditions, ranks and limits, and divide them into splits.

The first pass reads the columns that the criteria need and keeps a few numbers per row; the second, in
`selection_files`, copies the selected rows. Both stream, so memory does not grow with the size of the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.compute

from manifests.expressions import Condition, NamedColumns, parse_condition
from manifests.problems import safe_text
from pipelines.runs.selection.candidates import (
    CandidateColumns,
    Candidates,
    Criteria,
    Criterion,
    check_hashable,
    check_rankable,
    find_excess,
    find_repeated,
    read_candidates,
)
from pipelines.runs.selection.options import CONTENTS, PERCEPTUAL_HASH, PORTRAIT, SAME_INPUTS, SelectionOptions
from pipelines.runs.selection.run_tables import RunTables, open_run_tables
from pipelines.runs.selection.splits import NO_SPLIT, NO_VALUE, SplitAssignment, assign_splits

pc: Any = pyarrow.compute  # defines its functions dynamically, which type checkers do not see


@dataclass(frozen=True)
class SplitCount:
    """The selected rows of one split."""

    name: str  # name of the split
    rows: int  # number of rows
    values: dict[str, int]  # number of distinct values by column of `SelectionOptions.disjoint`


@dataclass(frozen=True)
class Selection:
    """Selected rows of runs."""

    options: SelectionOptions  # criteria as given
    tables: RunTables  # rows of the runs
    criteria: Criteria  # criteria in the order in which they were applied, with their effects
    candidates: Candidates  # rows as arrays; a row with code 0 is selected
    split: SplitAssignment | None  # split of each row; None without splits
    counts: tuple[SplitCount, ...]  # number of selected rows by split

    @property
    def selected(self) -> int:
        """Number of selected rows."""
        return int(np.count_nonzero(self.candidates.codes == 0))

    def as_dict(self) -> dict[str, Any]:
        """Return all counts as plain values, for JSON."""
        splits = [{"name": count.name, "rows": count.rows, "values": count.values} for count in self.counts]
        return {
            "runs": [*self.tables.runs],
            "unfinished_shards": sum(self.tables.unfinished),
            "rows": len(self.candidates.codes),
            "criteria": [criterion.as_dict() for criterion in self.criteria.applied],
            "selected": self.selected,
            "split_rule": self.split.rule if self.split else None,
            "splits": splits,
        }


def select_rows(
    runs: Sequence[str], options: SelectionOptions, *, on_rows: Callable[[int], object] = lambda rows: None
) -> Selection:
    """Select rows of the finished shards of runs.

    Args:
        runs: run folders; paths or URIs. Rows keep the order of the runs and of their manifests.
        options: criteria.
        on_rows: callback with the number of rows read.

    Raises:
        InputError: see `select_from_tables` and `open_run_tables`.
    """
    return select_from_tables(open_run_tables(runs), options, on_rows=on_rows)


def select_from_tables(
    tables: RunTables, options: SelectionOptions, *, on_rows: Callable[[int], object] = lambda rows: None
) -> Selection:
    """Select rows of outcome tables.

    Raises:
        InputError: `condition_invalid`, `column_unknown` or `column_type`, before any row is read;
            `records_unreadable`.
    """
    names, criteria = tables.columns, Criteria()
    keys = {name: _find_sources(name, names) for name in (*options.per, *(options.disjoint if options.split else ()))}
    merged = [name for name in keys if name == PORTRAIT and name not in names.schema.names]
    hashed = PERCEPTUAL_HASH in names.schema.names and bool(merged or options.distinct)
    columns = CandidateColumns(
        conditions=add_conditions(options, names, criteria),
        rank=None if options.by is None else names.find(options.by),
        keys=keys,
        distinct=[names.find(name) for name in SAME_INPUTS] if options.distinct else (),
        perceptual_hash=PERCEPTUAL_HASH if hashed else None,
        merged=merged,
    )
    if columns.rank:
        check_rankable(columns.rank, tables.schema.field(columns.rank).type)
    for sources in columns.keys.values():
        for source in sources:
            check_hashable(source, tables.schema.field(source).type)

    rows = read_candidates(tables, columns, criteria, on_rows=on_rows)
    split = _assign_splits(options, criteria, rows) if options.split else None
    if options.distinct:
        _drop_repeated(options, criteria, rows)
    if options.per:
        _drop_excess(options, criteria, rows)
    if options.top is not None:
        _drop_below_top(options, criteria, rows)
    return Selection(options, tables, criteria, rows, split, _count_splits(options, rows, split))


def add_conditions(options: SelectionOptions, names: NamedColumns, criteria: Criteria) -> list[tuple[int, Condition]]:
    """Add the conditions on rows to criteria, and return them with the index of their criterion.

    Args:
        options: criteria, of which `statuses` and `where` are used.
        names: columns that conditions can name.
        criteria: criteria, modified in place.

    Raises:
        InputError: `condition_invalid` or `column_unknown`.
    """
    statuses = " or ".join(options.statuses)
    status = Condition("status", ("status",), pc.field("status").isin([*options.statuses]))
    label = f"status is {statuses}"
    conditions = [(criteria.add(Criterion(label, f"status is not {statuses}", "has no status")), status)]
    for text in options.where:
        shown = safe_text(text, 200)
        criterion = Criterion(shown, f"does not meet {shown}", f"has no value for {shown}")
        conditions.append((criteria.add(criterion), parse_condition(text, names)))
    return conditions


def _find_sources(name: str, names: NamedColumns) -> list[str]:
    """Return the columns of a key; a column of that name takes precedence over `CONTENTS`."""
    if name in CONTENTS and name not in names.schema.names:
        return [source for source in CONTENTS[name] if source in names.schema.names]
    return [names.find(name)]


def _assign_splits(options: SelectionOptions, criteria: Criteria, rows: Candidates) -> SplitAssignment:
    """Assign splits, and drop rows without one.

    The conditions on metrics have no effect on the splits: all rows with an accepted status determine the groups.
    """
    columns = " and ".join(map(safe_text, options.disjoint))
    reason, missing_reason = f"values of {columns} are in different splits", f"has no {columns} for the split"
    index = criteria.add(Criterion(f"in one split by {columns}", reason, missing_reason))
    accepted = (rows.codes == 0) | (rows.codes > 2)  # the first criterion is the status
    keys = [rows.keys[name][accepted] for name in options.disjoint]
    assignment = assign_splits(keys, [*options.split.values()], seed=options.seed)

    splits = np.full(len(rows.codes), NO_VALUE, np.int8)
    splits[accepted] = assignment.splits
    criteria.drop(index, rows.codes, splits == NO_SPLIT, splits == NO_VALUE)
    return SplitAssignment(assignment.rule, splits)


def _drop_repeated(options: SelectionOptions, criteria: Criteria, rows: Candidates) -> None:
    index = criteria.add(Criterion("distinct inputs and seed", "has the inputs and the seed of another row", ""))
    repeated = np.zeros(len(rows.codes), bool)
    repeated[find_repeated(_order(options, rows), rows.distinct)] = True
    criteria.drop(index, rows.codes, repeated, np.zeros_like(repeated))


def _drop_excess(options: SelectionOptions, criteria: Criteria, rows: Candidates) -> None:
    """Drop rows without a value of a column with a limit, then those that exceed the limits."""
    indices = {}
    for column, limit in options.per.items():
        shown = safe_text(column)
        label = f"at most {limit:,} per {shown}"
        indices[column] = criteria.add(Criterion(label, f"exceeds {label}", f"has no {shown}"))
    missing = {column: rows.keys[column] == 0 for column in options.per}
    order = _order(options, rows)
    order = order[~np.logical_or.reduce([*missing.values()])[order]]
    for column, excess in find_excess(order, options.per, rows.keys).items():
        failed = np.zeros(len(rows.codes), bool)
        failed[excess] = True
        criteria.drop(indices[column], rows.codes, failed, missing[column])


def _drop_below_top(options: SelectionOptions, criteria: Criteria, rows: Candidates) -> None:
    assert rows.ranks is not None, "options require by with top"
    shown = safe_text(options.by)
    label = f"top {options.top:,} by {'lowest' if options.ascending else 'highest'} {shown}"
    index = criteria.add(Criterion(label, f"is not among the {label}", f"has no {shown}"))
    missing = np.isnan(rows.ranks)
    order = _order(options, rows)
    failed = np.zeros(len(rows.codes), bool)
    failed[order[~missing[order]][options.top :]] = True
    criteria.drop(index, rows.codes, failed, missing)


def _order(options: SelectionOptions, rows: Candidates) -> np.ndarray:
    """Return the selected rows by their ranks; those without one come last, and ties in the order of the rows."""
    selected = np.flatnonzero(rows.codes == 0)
    if rows.ranks is None:
        return selected
    keys = rows.ranks[selected] if options.ascending else -rows.ranks[selected]
    return selected[np.argsort(keys, kind="stable")]  # NaN comes last


def _count_splits(
    options: SelectionOptions, rows: Candidates, assignment: SplitAssignment | None
) -> tuple[SplitCount, ...]:
    if assignment is None:
        return ()
    counts = []
    for number, name in enumerate(options.split):
        members = (rows.codes == 0) & (assignment.splits == number)
        values = {column: np.unique(rows.keys[column][members]) for column in options.disjoint}
        distinct = {column: int(np.count_nonzero(hashes)) for column, hashes in values.items()}
        counts.append(SplitCount(name, int(np.count_nonzero(members)), distinct))
    return tuple(counts)
