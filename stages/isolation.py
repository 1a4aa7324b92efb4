"""Isolation of failures: an entry that fails does not affect the others of its batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from stages.base import Failed, FailureKind, classify_exception

T = TypeVar("T")
R = TypeVar("R")


def classify_for_record(error: BaseException) -> Failed:
    """Return the failure of a record that an exception stands for.

    Raises:
        BaseException: the error itself if it made the process unusable, because the record is then not at fault.
    """
    failure = classify_exception(error)
    if failure.kind is FailureKind.BROKEN:
        raise error
    return failure


def map_each(entries: Iterable[T | Failed], function: Callable[[T], R]) -> list[R | Failed]:
    """Call a function with one entry at a time; entries that have failed already are passed through."""
    results: list[R | Failed] = []
    for entry in entries:
        if isinstance(entry, Failed):
            results.append(entry)
            continue
        try:
            results.append(function(entry))
        except Exception as error:
            results.append(classify_for_record(error))
    return results


def map_batch(entries: Sequence[T | Failed], function: Callable[[list[T]], Sequence[R]]) -> list[R | Failed]:
    """Call a function with all entries at once, or with one at a time if that fails.

    On out-of-memory all entries fail, because single runs cannot show which batch size fits.

    Args:
        entries: entries; those that have failed already are passed through.
        function: returns one result per entry, in order; may be called again with the same entry.
    """
    good = [entry for entry in entries if not isinstance(entry, Failed)]
    results = iter(_run_batch(good, function))
    return [entry if isinstance(entry, Failed) else next(results) for entry in entries]


def _run_batch(good: list[T], function: Callable[[list[T]], Sequence[R]]) -> list[R | Failed]:
    if not good:
        return []
    try:
        return list(function(good))
    except Exception as error:
        failure = classify_for_record(error)
    if len(good) == 1 or failure.kind is FailureKind.OUT_OF_MEMORY:
        return [failure] * len(good)
    return [result for entry in good for result in _run_batch([entry], function)]
