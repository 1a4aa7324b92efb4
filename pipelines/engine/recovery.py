"""Carries out what the failure rules decide."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence

from manifests.run.outcome import Status
from pipelines.engine.errors import RunStopped
from pipelines.engine.events import Event, EventKind, Listener
from pipelines.engine.executors.base import Cause
from pipelines.engine.failure_policy import (
    Decision,
    FailureConfig,
    FailureRules,
    PutOff,
    Reject,
    Replay,
    Retry,
    StopRun,
)
from pipelines.engine.flow import RecordFlow
from pipelines.engine.pools import Batch
from pipelines.engine.statistics import StageStatistics
from pipelines.engine.tasks import Rejection, Work
from stages.base import Failed


class Recovery:
    """Sends failed works back into their queues, ends records, stops the run.

    Args:
        config: how patient to be.
        flow: where the records are.
        statistics: of the stages.
        listener: hears of every failure.
    """

    def __init__(
        self,
        config: FailureConfig,
        flow: RecordFlow,
        statistics: Mapping[str, StageStatistics],
        listener: Listener,
    ) -> None:
        self._config, self._flow, self._statistics, self._tell = config, flow, statistics, listener
        self._rules = FailureRules(config)
        self._put_off: dict[Work, PutOff] = {}
        self._hopeless: Counter[str] = Counter()  # records quarantined by stages that have not succeeded once

    def outcome_failed(self, work: Work, failed: Failed) -> None:
        """A stage returned a failure for one record."""
        decision = self._rules.of_outcome(work, failed)
        if isinstance(decision, Retry):
            self._tell_retry([work], failed.code, failed.sentence)
        self._carry_out([decision])

    def batch_failed(self, batch: Batch, works: list[Work], failed: Failed, seconds: float) -> None:
        """A stage raised for a batch, or ran out of memory for some works of one."""
        self._statistics[batch.stage].lost_s += seconds
        self._tell_retry(works, failed.code, failed.sentence)
        self._carry_out(self._rules.of_batch(works, failed, batch_size=len(batch.works)))

    def payload_lost(self, batch: Batch, sentence: str) -> None:
        """Inputs of a batch are gone; it was not begun."""
        _not_begun(batch)
        self._tell_retry(batch.works, "payload_lost", sentence)
        self._carry_out(self._rules.of_lost_payload(batch.works, sentence))

    def worker_lost(self, stage: str, batches: Sequence[Batch], cause: Cause, sentence: str, now: float) -> None:
        """A worker is gone.

        Args:
            stage: of the worker.
            batches: that it held; only the first one had been begun.
            cause: why it is gone.
            sentence: the same in words.
            now: the time.
        """
        statistics = self._statistics[stage]
        statistics.deaths += 1
        works = batches[0].works if batches else []
        if batches and batches[0].started is not None:
            statistics.lost_s += now - batches[0].started
        data = {"cause": cause.value, "sentence": sentence, "records": [work.leader.record.id for work in works]}
        self._tell(Event(EventKind.WORKER_LOST, stage, data))
        self._carry_out(self._rules.of_lost_worker(works, cause, sentence))
        for batch in batches[1:]:
            _not_begun(batch)
            self._carry_out([Retry(batch.works)])

    def come_back(self, group: list[Work]) -> None:
        """The time to stand aside is over, for a back-off or for a verdict."""
        put_off = self._put_off.pop(group[0], None)
        if put_off is None:
            self._flow.queues[group[0].stage].put_back(group)
        else:
            self._carry_out([self._rules.verdict(put_off)])

    def _carry_out(self, decisions: Sequence[Decision]) -> None:
        now = time.monotonic()
        for decision in decisions:
            match decision:
                case Retry(works=works, delay_s=delay_s):
                    self._statistics[works[0].stage].retries += len(works)
                    for work in works:
                        work.waiting_since = now
                    self._flow.queues[works[0].stage].put_back(works, now + delay_s if delay_s else None)
                case PutOff(work=work, delay_s=delay_s):
                    self._put_off[work] = decision
                    self._flow.queues[work.stage].put_back([work], now + delay_s)
                case Replay(work=work):
                    self._flow.replay(work)
                case Reject(work=work, status=status, code=code, sentence=sentence, lasting=lasting):
                    self._flow.reject(work, Rejection(status, work.stage, code, sentence), lasting=lasting)
                    self._check_hopeless(decision)
                case StopRun(failure=failure):
                    raise RunStopped(failure.code, failure.sentence)

    def _check_hopeless(self, reject: Reject) -> None:
        stage = reject.work.stage
        if reject.status is Status.QUARANTINED and not self._statistics[stage].records:
            self._hopeless[stage] += 1
            if self._hopeless[stage] >= self._config.give_up_after:
                text = f"stage {stage}: the first {self._hopeless[stage]} records were all quarantined, the last one: "
                raise RunStopped("stage_hopeless", text + reject.sentence)

    def _tell_retry(self, works: Sequence[Work], code: str, sentence: str) -> None:
        data = {"records": [work.leader.record.id for work in works], "code": code, "sentence": sentence}
        self._tell(Event(EventKind.BATCH_RETRIED, works[0].stage, data))


def _not_begun(batch: Batch) -> None:
    for work in batch.works:
        work.runs -= 1
