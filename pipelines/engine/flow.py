"""The path of records through the stages: which results a record needs next, and when it is finished."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

from manifests.record import Record
from pipelines.engine.graph import Pipeline, StageSpec
from pipelines.engine.statistics import StageStatistics
from pipelines.engine.tasks import Admission, FinishedRecord, Payload, RecordState, Rejection, StageQueue, StageTask
from stages.base import Ok


@dataclass(eq=False)
class RecordFlow:
    """The records in flight; each finished record is passed to `finish` once and then forgotten.

    Attributes:
        queues: waiting tasks by stage.
        in_flight: number of records.
        now: current time, which the loop sets before it passes anything here.
    """

    pipeline: Pipeline  # stages of the run
    admission: Admission  # counter of the memory that payloads hold
    statistics: Mapping[str, StageStatistics]  # statistics by stage
    finish: Callable[[FinishedRecord], None]  # called with every finished record

    def __post_init__(self) -> None:
        self.queues = {spec.name: StageQueue(spec) for spec in self.pipeline.stages}
        self._shared = {
            spec.name: SharedResults(max_entries=spec.cache_entries, max_bytes=spec.cache_bytes)
            for spec in self.pipeline.stages
            if spec.share
        }
        self.in_flight = 0
        self.now = 0.0

    @property
    def cached_bytes(self) -> int:
        """Memory of cached shared results."""
        return sum(shared.n_bytes for shared in self._shared.values())

    def enter(self, record: Record) -> None:
        """Start a new record."""
        self.in_flight += 1
        state = RecordState(record, self.pipeline.route(record))
        self._advance(state, state.route.starts)

    def _advance(self, state: RecordState, candidates: Sequence[StageSpec]) -> None:
        """Request the results of the candidates that the record can get now, or finish it."""
        for spec in candidates:
            if state.closed:
                return
            if (
                spec.output not in state.done
                and spec.output not in state.pending
                and state.done.issuperset(spec.after)
                and state.payloads.keys() >= set(spec.inputs)
            ):
                self._request(state, spec)
        if not state.closed and len(state.done) == len(state.route.order):
            self._close(state, None)

    def _request(self, state: RecordState, spec: StageSpec) -> None:
        """Use the shared result of a stage if there is one; otherwise wait for it, or queue a new task."""
        key = spec.share(state.record, state.facts) if spec.share else None
        shared = self._shared[spec.name].find(key) if key is not None else None
        if isinstance(shared, Rejection):
            self._close(state, shared)
            return
        if isinstance(shared, Payload):
            self.statistics[spec.name].shared += 1
            self._complete_stage(state, spec, shared)
            self._advance(state, state.route.followers[spec.output])
            return

        state.pending.add(spec.output)
        if isinstance(shared, StageTask):
            self.statistics[spec.name].shared += 1
            shared.waiters.append(state)
            return

        task = StageTask(
            stage=spec.name,
            waiters=[state],
            inputs={name: state.payloads[name] for name in spec.inputs},
            key=key,
            bucket=spec.bucket(state.record, state.facts) if spec.bucket else None,
            waiting_since=self.now,
        )
        if key is not None:
            self._shared[spec.name].start(key, task)
        self.queues[spec.name].put(task)

    def _complete_stage(self, state: RecordState, spec: StageSpec, payload: Payload) -> None:
        """Give a record the result of a stage and drop the payloads that no later stage needs."""
        output, consumers = spec.output, state.route.consumers
        state.pending.discard(output)
        state.done.add(output)
        state.facts[output] = payload.facts
        state.seconds.setdefault(output, 0.0)
        if consumers[output]:
            state.payloads[output] = payload
        for name in spec.inputs:
            if state.done.issuperset(consumers[name]):
                state.payloads.pop(name, None)

    def succeed(self, task: StageTask, ok: Ok, reference: object, seconds: float, node: str | None = None) -> None:
        """Give the result of a task to all records that wait for it.

        Args:
            task: finished task.
            ok: outcome of the task.
            reference: reference to the payload.
            seconds: the leader's share of the duration of the batch.
            node: node that stores the payload; None if unknown.
        """
        payload = Payload(reference, ok.facts, node)
        self.admission.track(payload)
        if task.key is not None:
            self._shared[task.stage].finish(task.key, payload)
        spec, leader = self.pipeline.by_name[task.stage], task.leader
        leader.seconds[spec.output] = leader.seconds.get(spec.output, 0.0) + seconds
        for state in task.waiters:
            if not state.closed:
                state.attempts = max(state.attempts, task.runs)
                self._complete_stage(state, spec, payload)
                self._advance(state, state.route.followers[spec.output])

    def reject(self, task: StageTask, rejection: Rejection, *, lasting: bool) -> None:
        """End all records that wait for a task, and later ones that share it if the rejection is lasting.

        If the stage is optional, they continue without its result.
        """
        spec = self.pipeline.by_name[task.stage]
        if spec.optional:
            facts = {"error_code": rejection.code, "error": rejection.sentence}
            self.succeed(task, Ok(facts=facts), None, 0.0)
            return

        if task.key is not None:
            self._shared[task.stage].finish(task.key, rejection if lasting else None)
        for state in task.waiters:
            if not state.closed:
                state.attempts = max(state.attempts, task.runs)
                self._close(state, rejection)

    def replay(self, task: StageTask) -> None:
        """Compute the lost inputs of a task again, from as early a stage as needed."""
        for payload in task.inputs.values():
            payload.lost = True
        self.cancel(task)
        spec = self.pipeline.by_name[task.stage]
        for state in task.waiters:
            if not state.closed:
                state.replays += 1
                state.pending.discard(spec.output)
                for name in spec.inputs:
                    self._undo_stage(state, name)
                self._advance(state, state.route.order)

    def _undo_stage(self, state: RecordState, output: str) -> None:
        """Mark a stage as not done for a record, with the stages above it whose payloads are lost."""
        held = state.payloads.get(output)
        if (held and not held.lost) or output in state.pending:
            return
        state.payloads.pop(output, None)
        state.done.discard(output)
        for name in state.route.producers[output].inputs:
            self._undo_stage(state, name)

    def cancel(self, task: StageTask) -> None:
        """Forget a task that no record waits for or that has to start over."""
        if task.key is not None:
            self._shared[task.stage].finish(task.key, None)

    def _close(self, state: RecordState, rejection: Rejection | None) -> None:
        state.closed = True
        state.payloads.clear()
        self.in_flight -= 1
        self.finish(
            FinishedRecord(
                record=state.record,
                rejection=rejection,
                attempts=state.attempts,
                seconds=state.seconds,
                facts=state.facts,
            )
        )


class SharedResults:
    """The results of one stage by content key: running tasks, and a bounded cache of results.

    The least recently used results are evicted first. A failure is cached like a result, so that a portrait that
    crashes its worker crashes two workers in total and not two per record. Only references are cached: evicting one
    does not free a result that a record still needs.

    Args:
        max_entries: maximum number of results and failures in the cache.
        max_bytes: maximum size of the results in the cache, as far as their size is known.
    """

    def __init__(self, *, max_entries: int, max_bytes: int) -> None:
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._running: dict[Hashable, StageTask] = {}
        self._results: OrderedDict[Hashable, Payload | Rejection] = OrderedDict()
        self.n_bytes = 0

    def find(self, key: Hashable) -> StageTask | Payload | Rejection | None:
        """Return the running task, the result or the failure of a key, or None."""
        if task := self._running.get(key):
            return task
        result = self._results.get(key)
        if isinstance(result, Payload) and result.lost:
            self._evict(key)
            return None
        if result is not None:
            self._results.move_to_end(key)
        return result

    def start(self, key: Hashable, task: StageTask) -> None:
        """Register the task that computes a result."""
        self._running[key] = task

    def finish(self, key: Hashable, result: Payload | Rejection | None) -> None:
        """Cache the result or failure of a task; with None, the next record computes it again."""
        self._running.pop(key, None)
        if result is None:
            return
        if key in self._results:
            self._evict(key)
        self._results[key] = result
        self.n_bytes += result.n_bytes if isinstance(result, Payload) else 0
        while len(self._results) > self._max_entries or self.n_bytes > self._max_bytes:
            self._evict(next(iter(self._results)))

    def _evict(self, key: Hashable) -> None:
        result = self._results.pop(key)
        self.n_bytes -= result.n_bytes if isinstance(result, Payload) else 0
