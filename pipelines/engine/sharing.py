"""Results that many records share, computed once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

from pipelines.engine.tasks import Payload, Rejection, Work


class SharedResults:
    """The results of one stage by content key: those under way, and a bounded number of those that are there.

    The least recently used go first. A failure is kept like a result, so that a portrait that kills its worker kills
    two and not two per record. Only references are kept: a result that is still needed by a record lives on.

    Args:
        max_entries: results and failures kept.
        max_bytes: size of the results kept, as far as it is known.
    """

    def __init__(self, *, max_entries: int, max_bytes: int) -> None:
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._under_way: dict[Hashable, Work] = {}
        self._kept: OrderedDict[Hashable, Payload | Rejection] = OrderedDict()
        self.n_bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, key: Hashable) -> Work | Payload | Rejection | None:
        """What there is for a key: the computation under way, the result, the failure, or nothing."""
        if work := self._under_way.get(key):
            return work
        kept = self._kept.get(key)
        if isinstance(kept, Payload) and kept.lost:
            self._forget(key)
            return None
        if kept is not None:
            self._kept.move_to_end(key)
        return kept

    def begin(self, key: Hashable, work: Work) -> None:
        """Notes that a result is being computed."""
        self._under_way[key] = work

    def end(self, key: Hashable, result: Payload | Rejection | None) -> None:
        """Notes how the computation ended.

        Args:
            key: of the result.
            result: the result or failure to keep; `None` if the next record shall try again.
        """
        self._under_way.pop(key, None)
        if result is None:
            return
        if key in self._kept:
            self._forget(key)
        self._kept[key] = result
        self.n_bytes += result.n_bytes if isinstance(result, Payload) else 0
        while len(self._kept) > self._max_entries or self.n_bytes > self._max_bytes:
            self._forget(next(iter(self._kept)))

    def _forget(self, key: Hashable) -> None:
        result = self._kept.pop(key)
        self.n_bytes -= result.n_bytes if isinstance(result, Payload) else 0
