"""Read the records that a run still has to process, and write their outcomes, shard by shard."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from manifests.record import Record, derive_seed
from manifests.run.folder import RunFolder
from manifests.run.manifest_file import RunManifest, ShardRecords
from manifests.run.outcome import RecordOutcome

SAVE_OUTCOMES = 32  # maximum number of unsaved outcomes of a shard
SAVE_S = 5.0  # maximum time that an outcome is unsaved; a crash of the driver loses at most this


@dataclass
class _OpenShard:
    """A shard with records in flight."""

    records: ShardRecords
    outcomes: dict[str, RecordOutcome]
    unsaved: list[RecordOutcome] = field(default_factory=list)
    saved_at: float = 0.0

    @property
    def complete(self) -> bool:
        return len(self.outcomes) == len(self.records.records)


@dataclass(eq=False)
class ShardWriter:
    """Feed the records of unfinished shards to the engine and write their outcomes.

    Only the shards in progress are in memory, a few hundred records each. Outcomes are saved every `SAVE_S` seconds,
    so that a crash of the driver loses little; a shard becomes visible when it is complete.
    """

    folder: RunFolder  # run folder, whose lock is held
    manifest: RunManifest  # rows of the run
    run_seed: int  # seed from which the seeds of records are derived
    run_fingerprint: str  # fingerprint of the run's description
    stages: tuple[str, ...]  # outputs of the pipeline, for the columns of the outcome table
    metrics: tuple[str, ...] = ()  # columns of the metrics in the outcome table
    columns: Mapping[str, type] | None = None  # further columns of the outcome table, with their types

    def __post_init__(self) -> None:
        self._open: dict[int, _OpenShard] = {}
        self.remaining = self.manifest.records  # records that had no outcome when this part of the run started

    def records(self) -> Iterator[Record]:
        """Yield the records that have no outcome yet, shards of higher priority first."""
        done = self.folder.read_done_markers()
        self.remaining -= sum(mark.records for mark in done.values())
        unfinished = (number for number in range(len(self.manifest)) if number not in done)
        for number in sorted(unfinished, key=lambda number: (-self.manifest.priorities[number], number)):
            self.folder.clean_shard(number)
            shard = self.manifest.read_shard(number)
            ids = {record.id for record in shard.records}
            saved = {key: value for key, value in self.folder.read_saved_outcomes(number).items() if key in ids}
            self.remaining -= len(saved)
            self._open[number] = _OpenShard(shard, saved, saved_at=time.monotonic())
            waiting = [record for record in shard.records if record.id not in saved]
            if not waiting:
                self._finish(number)
            yield from map(self._with_seed, waiting)

    def record_outcome(self, record: Record, outcome: RecordOutcome) -> None:
        """Record the outcome of a record; finish its shard if it was the last one."""
        shard = self._open[record.shard]
        shard.outcomes[outcome.record_id] = outcome
        shard.unsaved.append(outcome)
        if shard.complete:
            self._finish(record.shard)
        else:
            self.flush_if_due()

    def flush(self) -> None:
        """Save all outcomes of unfinished shards, before the run ends early."""
        for number, shard in self._open.items():
            self._save(number, shard)

    def flush_if_due(self) -> None:
        """Save outcomes that exceed `SAVE_OUTCOMES` or `SAVE_S`; to be called frequently."""
        now = time.monotonic()
        for number, shard in self._open.items():
            if len(shard.unsaved) >= SAVE_OUTCOMES or (shard.unsaved and now - shard.saved_at >= SAVE_S):
                self._save(number, shard)

    def _save(self, number: int, shard: _OpenShard) -> None:
        if shard.unsaved:
            self.folder.save_outcomes(number, shard.unsaved)
        shard.unsaved, shard.saved_at = [], time.monotonic()

    def _finish(self, number: int) -> None:
        shard = self._open[number]
        self.folder.finish_shard(
            shard.records,
            shard.outcomes.values(),
            run_fingerprint=self.run_fingerprint,
            stages=self.stages,
            metrics=self.metrics,
            columns=self.columns,
        )
        del self._open[number]  # last: if writing fails, `flush` still has the outcomes

    def _with_seed(self, record: Record) -> Record:
        seed = derive_seed(self.run_seed, record.id) if record.given_seed is None else record.given_seed
        return dataclasses.replace(record, seed=seed)
