"""How a record goes from stage to stage: what it needs next, what it no longer needs, when it is finished."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from pipelines.engine.admission import Admission
from pipelines.engine.graph import Pipeline, StageSpec
from pipelines.engine.queues import StageQueue
from pipelines.engine.sharing import SharedResults
from pipelines.engine.statistics import StageStatistics
from pipelines.engine.tasks import Finished, Payload, RecordState, Rejection, Work
from stages.base import Ok, Record


class RecordFlow:
    """Records on their way through the stages; a finished one is handed on once and forgotten.

    Args:
        pipeline: the stages.
        admission: told of the memory that payloads take.
        statistics: of the stages.
        finish: takes finished records.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        admission: Admission,
        statistics: Mapping[str, StageStatistics],
        finish: Callable[[Finished], None],
    ) -> None:
        self._pipeline, self._admission, self._statistics, self._finish = pipeline, admission, statistics, finish
        self.queues = {spec.name: StageQueue(spec) for spec in pipeline.stages}
        self._shared = {
            spec.name: SharedResults(max_entries=spec.cache_entries, max_bytes=spec.cache_bytes)
            for spec in pipeline.stages
            if spec.share
        }
        self.in_flight = 0

    @property
    def cached_bytes(self) -> int:
        """Memory of shared results that are kept for records to come."""
        return sum(shared.n_bytes for shared in self._shared.values())

    def enter(self, record: Record) -> None:
        """Takes in a new record."""
        self.in_flight += 1
        self._advance(RecordState(record, self._pipeline.route(record)))

    def _advance(self, state: RecordState) -> None:
        """Asks for all that the record can get now, or finishes it."""
        for spec in state.route.order:
            if state.closed:
                return
            if (
                spec.output not in state.done
                and spec.output not in state.pending
                and state.done.issuperset(spec.after)
                and all(name in state.payloads for name in spec.inputs)
            ):
                self._request(state, spec)
        if not state.closed and len(state.done) == len(state.route.order):
            self._close(state, None)

    def _request(self, state: RecordState, spec: StageSpec) -> None:
        key = spec.share(state.record, state.facts) if spec.share else None
        found = self._shared[spec.name].find(key) if key is not None else None
        if isinstance(found, Rejection):
            self._close(state, found)
            return
        if isinstance(found, Payload):
            self._statistics[spec.name].shared += 1
            self._pass(state, spec, found)
            return
        state.pending.add(spec.output)
        if isinstance(found, Work):
            self._statistics[spec.name].shared += 1
            found.waiters.append(state)
            return
        work = Work(
            stage=spec.name,
            waiters=[state],
            inputs={name: state.payloads[name] for name in spec.inputs},
            key=key,
            bucket=spec.bucket(state.record, state.facts) if spec.bucket else None,
            waiting_since=time.monotonic(),
        )
        if key is not None:
            self._shared[spec.name].begin(key, work)
        self.queues[spec.name].put(work)

    def _pass(self, state: RecordState, spec: StageSpec, payload: Payload) -> None:
        """The record has a result of a stage; drops the payloads that nobody else needs."""
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

    def succeed(self, work: Work, ok: Ok, reference: object, seconds: float) -> None:
        """A computation gave a result; all who wait for it go on.

        Args:
            work: the computation.
            ok: its outcome.
            reference: of the payload.
            seconds: of the leader's share of the batch.
        """
        payload = Payload(reference, ok.facts)
        self._admission.track(payload)
        if work.key is not None:
            self._shared[work.stage].end(work.key, payload)
        spec, leader = self._pipeline.by_name[work.stage], work.leader
        leader.seconds[spec.output] = leader.seconds.get(spec.output, 0.0) + seconds
        for state in work.waiters:
            if not state.closed:
                state.attempts = max(state.attempts, work.runs)
                self._pass(state, spec, payload)
                self._advance(state)

    def reject(self, work: Work, rejection: Rejection, *, lasting: bool) -> None:
        """A computation failed for good; all who wait for it end here, for the same reason.

        Where the stage is optional they go on without its result.

        Args:
            work: the computation.
            rejection: why.
            lasting: whether records to come that share it shall end likewise.
        """
        spec = self._pipeline.by_name[work.stage]
        if spec.optional:
            facts = {"error_code": rejection.code, "error": rejection.sentence}
            self.succeed(work, Ok(facts=facts), None, 0.0)
            return
        if work.key is not None:
            self._shared[work.stage].end(work.key, rejection if lasting else None)
        for state in work.waiters:
            if not state.closed:
                state.attempts = max(state.attempts, work.runs)
                self._close(state, rejection)

    def replay(self, work: Work) -> None:
        """The inputs of a computation are lost; all who wait for it begin again as far up as needed."""
        for payload in work.inputs.values():
            payload.lost = True
        self.abandon(work)
        spec = self._pipeline.by_name[work.stage]
        for state in work.waiters:
            if not state.closed:
                state.replays += 1
                state.pending.discard(spec.output)
                for name in spec.inputs:
                    self._restore(state, name)
                self._advance(state)

    def _restore(self, state: RecordState, output: str) -> None:
        """Makes a stage run again for a record, with the stages above it whose payloads are gone."""
        held = state.payloads.get(output)
        if (held and not held.lost) or output in state.pending:
            return
        state.payloads.pop(output, None)
        state.done.discard(output)
        for name in state.route.makers[output].inputs:
            self._restore(state, name)

    def abandon(self, work: Work) -> None:
        """Forgets a computation that nobody waits for or that has to begin again."""
        if work.key is not None:
            self._shared[work.stage].end(work.key, None)

    def _close(self, state: RecordState, rejection: Rejection | None) -> None:
        state.closed = True
        state.payloads.clear()
        self.in_flight -= 1
        self._finish(
            Finished(
                record=state.record,
                rejection=rejection,
                attempts=state.attempts,
                seconds=state.seconds,
                facts=state.facts,
            )
        )
