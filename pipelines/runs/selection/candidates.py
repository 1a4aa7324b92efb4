"""The criteria of a selection, and what they need of each row: conditions, its rank, and hashes of some values."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.types as is_type

from joyvasa.errors import InputError
from joyvasa.runtime.arrow_text import format_values
from manifests.expressions import Condition
from manifests.problems import safe_text
from pipelines.runs.selection.near_duplicates import merge_near_duplicates, read_perceptual_hashes
from pipelines.runs.selection.run_tables import RunTables
from pipelines.runs.selection.splits import find_first_values


@dataclass
class Criterion:
    """One criterion and its effect."""

    label: str  # criterion in short, for tables
    reason: str  # why rows that do not meet it are dropped
    missing_reason: str  # why rows are dropped for which it is undecided, because a value is missing
    before: int = 0  # number of rows that met all earlier criteria
    dropped: int = 0  # number of rows that do not meet it
    missing: int = 0  # number of dropped rows for which it is undecided

    def as_dict(self) -> dict[str, Any]:
        """Return label and counts, for JSON."""
        return {name: getattr(self, name) for name in ("label", "before", "dropped", "missing")}


@dataclass
class Criteria:
    """Criteria in the order in which they apply; a row is dropped by the first that it does not meet."""

    applied: list[Criterion] = field(default_factory=list)

    def add(self, criterion: Criterion) -> int:
        """Add a criterion and return its index."""
        self.applied.append(criterion)
        return len(self.applied) - 1

    def drop(self, index: int, codes: np.ndarray, failed: np.ndarray, missing: np.ndarray) -> None:
        """Apply a criterion to rows that met the earlier ones.

        Args:
            index: index of the criterion.
            codes: code of each row, 0 for rows that met all criteria so far; int16, modified in place.
            failed: whether each row does not meet the criterion.
            missing: whether the criterion is undecided for each row.
        """
        remaining = codes == 0
        failed, missing = failed & remaining & ~missing, missing & remaining
        codes[failed], codes[missing] = 2 * index + 1, 2 * index + 2

        criterion = self.applied[index]
        criterion.before += int(np.count_nonzero(remaining))
        criterion.missing += int(np.count_nonzero(missing))
        criterion.dropped += int(np.count_nonzero(failed) + np.count_nonzero(missing))

    @property
    def reasons(self) -> list[str]:
        """Reasons by code; the reason of code 0 is empty."""
        return ["", *(reason for one in self.applied for reason in (one.reason, one.missing_reason))]


def find_repeated(order: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return the rows whose key occurred before in an order; rows with key 0 are not compared.

    Args:
        order: indices of rows, in order of preference.
        keys: key of each row, uint64.
    """
    order = order[keys[order] != 0]
    _, first = np.unique(keys[order], return_index=True)
    return np.delete(order, first)


def find_excess(order: np.ndarray, limits: Mapping[str, int], keys: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
    """Return the rows that exceed limits per value, by the column of the limit that they exceed first.

    A row counts towards the limits of all columns only if it exceeds none.

    Args:
        order: indices of rows, in order of preference.
        limits: largest number of rows with one value, by column.
        keys: key of each row by column, uint64.
    """
    excess: dict[str, list[int]] = {column: [] for column in limits}
    counters = []
    for column, limit in limits.items():
        distinct, codes = np.unique(keys[column][order], return_inverse=True)
        counters.append((column, limit, codes.tolist(), [0] * len(distinct)))

    for position, row in enumerate(order.tolist()):
        for column, limit, codes, counts in counters:
            if counts[codes[position]] >= limit:
                excess[column].append(row)
                break
        else:
            for _, _, codes, counts in counters:
                counts[codes[position]] += 1
    return excess


pc: Any = pyarrow.compute  # defines its functions dynamically, which type checkers do not see
MIXER = np.uint64(0x9E3779B97F4A7C15)  # odd, so that combined hashes depend on every part


@dataclass(frozen=True)
class CandidateColumns:
    """The columns that a selection reads in its first pass."""

    conditions: Sequence[tuple[int, Condition]] = ()  # conditions with the index of their criterion
    rank: str | None = None  # column with the rank of rows
    # columns whose values are hashed, by name of the key; the first one that has a value counts
    keys: Mapping[str, Sequence[str]] = field(default_factory=dict)
    # columns that are hashed together, that of the picture first; empty for none
    distinct: Sequence[str] = ()
    perceptual_hash: str | None = None  # column by which near duplicates of pictures are found; None for none
    merged: Sequence[str] = ()  # names of the keys in which near duplicates of pictures have one value

    @property
    def names(self) -> list[str]:
        """Names of all columns, without duplicates."""
        names = [name for _, condition in self.conditions for name in condition.columns]
        names += [name for columns in self.keys.values() for name in columns]
        others = [name for name in (self.perceptual_hash, self.rank) if name]
        return [*dict.fromkeys([*names, *self.distinct, *others])]


@dataclass
class Candidates:
    """The rows of a selection as arrays, with 2 bytes for the code and 8 bytes for each rank or key."""

    codes: np.ndarray  # code of the criterion that dropped each row, see `Criteria.drop`; int16
    ranks: np.ndarray | None  # rank of each row, NaN for missing ones, float64; None without a column for it
    keys: dict[str, np.ndarray]  # hash of a value of each row by name of the key, 0 for missing ones; uint64
    distinct: np.ndarray  # hash of the columns that are hashed together, 0 if no input is known; uint64


def read_candidates(
    tables: RunTables, columns: CandidateColumns, criteria: Criteria, *, on_rows: Callable[[int], object]
) -> Candidates:
    """Read what a selection needs of each row, and apply the conditions, whose effects are counted in `criteria`.

    Raises:
        InputError: `records_unreadable`.
    """
    codes, ranks, looks = [], [], []
    distinct: list[list[np.ndarray]] = [[] for _ in columns.distinct]
    keys: dict[str, list[np.ndarray]] = {name: [] for name in columns.keys}
    n_rows = 0
    for _, table in tables.iterate(columns.names):
        codes.append(apply_conditions(columns.conditions, criteria, table))
        ranks.append(_read_numbers(table.column(columns.rank)) if columns.rank else np.empty(0))
        for name, sources in columns.keys.items():
            keys[name].append(find_first_values(hash_values(table.column(source)) for source in sources))
        for parts, source in zip(distinct, columns.distinct, strict=True):
            parts.append(hash_values(table.column(source)))
        if columns.perceptual_hash:
            looks.append(read_perceptual_hashes(table.column(columns.perceptual_hash)))
        n_rows += table.num_rows
        on_rows(n_rows)

    joined = {name: _join(parts) for name, parts in keys.items()}
    inputs = [_join(parts) for parts in distinct]
    if columns.perceptual_hash:
        hashes = _join(looks)
        joined |= {name: merge_near_duplicates(joined[name], hashes) for name in columns.merged}
        inputs[:1] = [merge_near_duplicates(images, hashes) for images in inputs[:1]]
    return Candidates(
        np.concatenate([np.empty(0, np.int16), *codes]),
        np.concatenate([np.empty(0), *ranks]) if columns.rank else None,
        joined,
        _combine_keys(inputs) if inputs else np.empty(0, np.uint64),
    )


def apply_conditions(conditions: Sequence[tuple[int, Condition]], criteria: Criteria, table: pa.Table) -> np.ndarray:
    """Apply conditions to rows, and return the code of each row, see `Criteria.drop`; int16, shape (rows,).

    Args:
        conditions: conditions with the index of their criterion.
        criteria: criteria; their counts are updated.
        table: rows with the columns of the conditions.
    """
    codes = np.zeros(table.num_rows, np.int16)
    for index, condition in conditions:
        result = condition.evaluate(table)
        failed = pc.invert(result).fill_null(False).to_numpy()
        criteria.drop(index, codes, failed, result.is_null().to_numpy())
    return codes


def hash_values(column: pa.ChunkedArray) -> np.ndarray:
    """Return a 64-bit hash of each value as text: uint64, shape (rows,); 0 for null."""
    if column.num_chunks == 0:
        return np.empty(0, np.uint64)
    encoded = column.combine_chunks().dictionary_encode()
    texts = format_values(encoded.dictionary)
    hashes = np.frombuffer(b"\0" * 8 + b"".join(map(_digest, texts)), np.uint64)  # the first one is for null
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return hashes[codes.astype(np.int64) + 1]


def check_hashable(name: str, kind: pa.DataType) -> None:
    """Check that the values of a column can be compared with each other.

    Raises:
        InputError: `column_type`.
    """
    if is_type.is_nested(kind):
        sentence = f"column {safe_text(name)} has values of type {safe_text(kind)}; expected text, numbers or times"
        raise InputError("column_type", sentence)


def check_rankable(name: str, kind: pa.DataType) -> None:
    """Check that the values of a column have an order that numbers can represent.

    Raises:
        InputError: `column_type`.
    """
    numeric = is_type.is_integer(kind) or is_type.is_floating(kind) or is_type.is_decimal(kind)
    if not (numeric or is_type.is_boolean(kind) or is_type.is_timestamp(kind) or is_type.is_null(kind)):
        sentence = f"column {safe_text(name)} has values of type {safe_text(kind)}; expected numbers to rank rows by"
        raise InputError("column_type", sentence)


def _read_numbers(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column as float64, NaN for null."""
    if is_type.is_timestamp(column.type):
        column = column.cast(pa.int64())
    return column.cast(pa.float64(), safe=False).to_numpy()


def _join(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.empty(0, np.uint64), *parts])


def _combine_keys(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Combine the hashes of image, audio, motion and seed; 0 if the image, or both sound and motion, are unknown."""
    image, audio, motion, _ = parts
    combined = np.zeros(len(image), np.uint64)
    for part in parts:
        combined = combined * MIXER + part
    return np.where((image == 0) | ((audio == 0) & (motion == 0)), np.uint64(0), combined)


def _digest(text: str | None) -> bytes:
    return b"\0" * 8 if text is None else hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()
