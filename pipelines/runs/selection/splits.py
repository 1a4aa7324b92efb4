"""Splits of a data set in which no value of some columns, such as a portrait, occurs twice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from joyvasa.errors import ConfigError

MAX_GROUP_SHARE = 0.5  # a group with more rows would take most of the data into one split
NO_SPLIT, NO_VALUE = -1, -2  # rows whose values are in different splits, and rows without a value
SPLITS = ("train", "val", "test")  # names of splits


@dataclass(frozen=True)
class SplitAssignment:
    """The split of each row."""

    rule: Literal["groups", "values"]  # how rows were assigned, see `assign_splits`
    splits: np.ndarray  # index of the split of each row, or `NO_SPLIT`, or `NO_VALUE`; int8, shape (rows,)


def check_shares(shares: Mapping[str, float]) -> None:
    """Check names and shares of splits.

    Raises:
        ConfigError: `config_invalid`.
    """
    for name, share in shares.items():
        if name not in SPLITS:
            raise ConfigError("config_invalid", f"split {name!r}; expected {', '.join(SPLITS)}")
        if not 0 < share <= 1:
            raise ConfigError("config_invalid", f"split {name}={share:g}; expected a share above 0, at most 1")
    if shares and abs(sum(shares.values()) - 1) > 1e-6:
        total = sum(shares.values())
        raise ConfigError("config_invalid", f"the shares of the splits add up to {total:g}; expected 1")


def assign_splits(columns: Sequence[np.ndarray], shares: Sequence[float], *, seed: int = 0) -> SplitAssignment:
    """Assign rows to splits, so that no value of a column occurs in two splits.

    With the rule `groups`, rows that share a value, directly or through other rows, are a group, and a hash of the
    first value of the group determines the split. No row is lost. Rows that are added after the others change the split
    of a row only if they connect two groups.

    If more than half of the rows are in one group that is larger than the rows of any value, as when portraits and
    voices are combined at random, the rule is `values`: a hash of each value determines its split, and a row whose
    values are in different splits has none. Added rows never change the split of a row. The shares of values are such
    that those of the rows are as given.

    Args:
        columns: hashes of the values of each column, uint64, shape (rows,); 0 for missing values.
        shares: share of each split; they add up to 1.
        seed: seed of the hashes.
    """
    n_rows = len(columns[0])
    missing = np.logical_and.reduce([column == 0 for column in columns])
    groups = _find_groups(columns)
    largest = np.bincount(groups[~missing], minlength=1).max()
    counts = (np.unique(column[column != 0], return_counts=True)[1] for column in columns)
    largest_value = max(int(count.max(initial=0)) for count in counts)
    limit = max(MAX_GROUP_SHARE * np.count_nonzero(~missing), largest_value)

    rule: Literal["groups", "values"] = "groups"
    splits = np.full(n_rows, NO_VALUE, np.int8)
    if largest > limit:
        rule = "values"
        by_value = np.asarray(shares) ** (1 / len(columns))
        for column in columns:
            chosen = _choose(column, by_value, seed)
            agreed = np.where((splits == NO_VALUE) | (splits == chosen), chosen, np.int8(NO_SPLIT))
            splits = np.where(column == 0, splits, agreed)
    elif not missing.all():
        first_value = find_first_values(columns)
        _, first_row, group = np.unique(groups[~missing], return_index=True, return_inverse=True)
        splits[~missing] = _choose(first_value[~missing][first_row], np.asarray(shares), seed)[group]
    return SplitAssignment(rule, splits)


def _find_groups(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Return the number of the first row of each row's group, int64; rows without values are groups of their own."""
    edges = [(np.empty(0, np.intp), np.empty(0, np.intp))]
    for column in columns:
        _, first, inverse = np.unique(column, return_index=True, return_inverse=True)
        rows = np.flatnonzero(column)
        edges.append((rows, first[inverse][rows]))
    return find_components(len(columns[0]), *map(np.concatenate, zip(*edges, strict=True)))


def find_components(n: int, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return the lowest number in the connected component of each of n nodes, int64.

    Each node points to a node of its component with a lower number, and the numbers fall until nothing changes, as in
    the algorithm of Shiloach and Vishkin (1982): the rounds grow with the logarithm of the nodes.

    Args:
        n: number of nodes.
        left: node at one end of each edge.
        right: node at its other end.
    """
    pointed = np.arange(n)
    while True:
        lowest = pointed.copy()
        np.minimum.at(lowest, left, pointed[right])
        np.minimum.at(lowest, right, pointed[left])
        np.minimum.at(lowest, pointed, lowest.copy())  # a lower number also reaches the node that was pointed to
        lowest = lowest[lowest]
        if np.array_equal(lowest, pointed):
            return pointed
        pointed = lowest


def find_first_values(columns: Iterable[np.ndarray]) -> np.ndarray:
    """Return the hash of the first value that each row has, 0 for rows without values; uint64, shape (rows,)."""
    values, *others = columns
    for column in others:
        values = np.where(values == 0, column, values)
    return values


def _choose(hashes: np.ndarray, weights: np.ndarray, seed: int) -> np.ndarray:
    """Return the index of the split for each hash, int8, with probabilities in proportion to weights."""
    bounds = np.cumsum(weights / weights.sum())[:-1]
    return np.searchsorted(bounds, _mix(hashes, seed), side="right").astype(np.int8)


def _mix(hashes: np.ndarray, seed: int) -> np.ndarray:
    """Return uniform numbers from 0 to 1 for hashes and a seed: the finalizer of SplitMix64."""
    mixed = hashes ^ np.uint64((seed * 0x9E3779B97F4A7C15) % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (mixed ^ (mixed >> np.uint64(31))).astype(np.float64) / 2.0**64
