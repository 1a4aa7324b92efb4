"""One record's failure stays its own, though many share a batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from stages.base import Failed, FailureKind, classify_exception

T = TypeVar("T")
R = TypeVar("R")


def classify_for_record(error: BaseException) -> Failed:
    """The failure of one record that an exception stands for.

    Raises:
        BaseException: the error itself where the process is of no more use: nothing that it computes from now on could
            be trusted, so the error must not be put down to the record.
    """
    failure = classify_exception(error)
    if failure.kind is FailureKind.BROKEN:
        raise error
    return failure


def map_each(entries: Iterable[T | Failed], work: Callable[[T], R]) -> list[R | Failed]:
    """Works on entries one by one; what has failed already is passed on."""
    results: list[R | Failed] = []
    for entry in entries:
        if isinstance(entry, Failed):
            results.append(entry)
            continue
        try:
            results.append(work(entry))
        except Exception as error:  # sorted below: what it means for the record
            results.append(classify_for_record(error))
    return results


def map_batch(entries: Sequence[T | Failed], work: Callable[[list[T]], Sequence[R]]) -> list[R | Failed]:
    """Works on all entries that have not failed in one go, or one by one if that fails.

    Want of memory is every entry's failure, as each alone could not tell how many fit.

    Args:
        entries: what has failed already is passed on.
        work: gives one result an entry, in order; may be called again for the same entry.
    """
    good = [entry for entry in entries if not isinstance(entry, Failed)]
    results = iter(_attempt(good, work))
    return [entry if isinstance(entry, Failed) else next(results) for entry in entries]


def _attempt(good: list[T], work: Callable[[list[T]], Sequence[R]]) -> list[R | Failed]:
    if not good:
        return []
    try:
        return list(work(good))
    except Exception as error:  # sorted below: what it means for the records
        failure = classify_for_record(error)
    if len(good) == 1 or failure.kind is FailureKind.OUT_OF_MEMORY:
        return [failure] * len(good)
    return [result for entry in good for result in _attempt([entry], work)]
