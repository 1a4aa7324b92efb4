"""Which record enters next, and when there is room for it."""

from __future__ import annotations

import heapq
import weakref
from collections.abc import Iterable, Iterator

from manifests.record import Record
from pipelines.engine.tasks import Payload


class Admission:
    """Takes records from the manifest, highest priority first within a window, while there is room.

    Room is a number of records and an amount of memory. How much memory a record will hold is learnt from those that
    have finished; until the first has, only `warm_up` records are let in. One record is always let in.

    Args:
        records: the manifest; read on as room becomes free.
        look_ahead: records read ahead, among which priority decides.
        max_records: most records in flight.
        max_bytes: most memory that payloads of records in flight hold.
        warm_up: most records in flight before the first one has finished.
    """

    def __init__(
        self, records: Iterable[Record], *, look_ahead: int, max_records: int, max_bytes: int, warm_up: int
    ) -> None:
        self._records: Iterator[Record] | None = iter(records)
        self._window: list[tuple[float, int, Record]] = []
        self._look_ahead = look_ahead
        self._max_records, self._max_bytes, self._warm_up = max_records, max_bytes, warm_up
        self._n_read = 0
        self._produced_bytes = 0
        self.held_bytes = 0

    def track(self, payload: Payload) -> None:
        """Counts a payload for as long as somebody holds it."""
        if payload.n_bytes:
            self._produced_bytes += payload.n_bytes
            self.held_bytes += payload.n_bytes
            weakref.finalize(payload, self._release, payload.n_bytes).atexit = False

    def _release(self, n_bytes: int) -> None:
        self.held_bytes -= n_bytes

    @property
    def exhausted(self) -> bool:
        """Whether no record is left."""
        self._read()
        return not self._window

    def next(self, *, in_flight: int, finished: int, cached_bytes: int) -> Record | None:
        """The next record, if there is one and room for it.

        Args:
            in_flight: records under way.
            finished: records that have left.
            cached_bytes: memory of shared results, which have a bound of their own.
        """
        if self.exhausted or (in_flight and not self._room(in_flight, finished, cached_bytes)):
            return None
        return heapq.heappop(self._window)[2]

    def _room(self, in_flight: int, finished: int, cached_bytes: int) -> bool:
        if in_flight >= self._max_records or self.held_bytes - cached_bytes >= self._max_bytes:
            return False
        if not finished:
            return in_flight < self._warm_up
        return (in_flight + 1) * self._produced_bytes / finished <= self._max_bytes

    def _read(self) -> None:
        while self._records is not None and len(self._window) < self._look_ahead:
            record = next(self._records, None)
            if record is None:
                self._records = None
            else:
                heapq.heappush(self._window, (-record.priority, self._n_read, record))
                self._n_read += 1
