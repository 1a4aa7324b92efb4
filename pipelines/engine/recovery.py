"""Recovery from failures: carry out what the failure rules decide."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from manifests.run.outcome import Status
from pipelines.engine.config import EngineConfig
from pipelines.engine.events import Event, EventCallback, EventKind
from pipelines.engine.executors.base import LossCause
from pipelines.engine.failure_policy import Decision, DeferVerdict, FailureRules, Reject, Replay, Retry
from pipelines.engine.flow import RecordFlow
from pipelines.engine.interrupts import RunStopped
from pipelines.engine.pools import Batch
from pipelines.engine.statistics import StageStatistics
from pipelines.engine.tasks import Rejection, StageTask
from stages.base import Failed


@dataclass(eq=False)
class Recovery:
    """Return failed tasks to their queues, end records, stop the run."""

    config: EngineConfig  # limits of retries
    flow: RecordFlow  # records in flight
    statistics: Mapping[str, StageStatistics]  # statistics by stage
    on_event: EventCallback  # callback for every failure
    clock: Callable[[], float]  # function that returns the current time in seconds

    def __post_init__(self) -> None:
        self._rules = FailureRules(self.config)
        self._deferred: dict[StageTask, DeferVerdict] = {}
        self._never_succeeded: Counter[str] = Counter()  # records quarantined by stages without a single success

    def handle_failed_outcome(self, task: StageTask, failed: Failed) -> None:
        """Handle a failure that a stage returned for one record."""
        decision = self._rules.decide_on_outcome(task, failed)
        if isinstance(decision, Retry):
            self._report_retry([task], failed.code, failed.sentence)
        self._carry_out([decision])

    def handle_failed_batch(self, batch: Batch, tasks: list[StageTask], failed: Failed, seconds: float) -> None:
        """Handle a stage that raised for a batch, or ran out of memory for some of its tasks."""
        self.statistics[batch.stage].lost_s += seconds
        self._report_retry(tasks, failed.code, failed.sentence)
        self._carry_out(self._rules.decide_on_batch(tasks, failed, batch_size=len(batch.tasks)))

    def handle_lost_payload(self, batch: Batch, sentence: str) -> None:
        """Handle a batch that could not start because inputs are lost."""
        _subtract_run(batch)
        self._report_retry(batch.tasks, "payload_lost", sentence)
        self._carry_out(self._rules.decide_on_lost_payload(batch.tasks, sentence))

    def handle_lost_worker(
        self, stage: str, batches: Sequence[Batch], cause: LossCause, sentence: str, now: float
    ) -> None:
        """Handle a lost worker, of whose batches only the first one was running."""
        statistics = self.statistics[stage]
        statistics.worker_crashes += 1
        tasks = batches[0].tasks if batches else []
        if batches and batches[0].started is not None:
            statistics.lost_s += now - batches[0].started
        data = {"cause": cause.value, "sentence": sentence, "records": [task.leader.record.id for task in tasks]}
        self.on_event(Event(EventKind.WORKER_LOST, stage, data))

        self._carry_out(self._rules.decide_on_lost_worker(tasks, cause, sentence))
        for batch in batches[1:]:
            _subtract_run(batch)
            self._carry_out([Retry(batch.tasks)])

    def retry_due(self, group: list[StageTask]) -> None:
        """Retry tasks whose delay is over, or decide about them if their verdict was deferred."""
        deferred = self._deferred.pop(group[0], None)
        if deferred is None:
            self.flow.queues[group[0].stage].put_back(group)
        else:
            self._carry_out([self._rules.decide_deferred(deferred)])

    def _carry_out(self, decisions: Sequence[Decision]) -> None:
        now = self.clock()
        for decision in decisions:
            match decision:
                case Retry(tasks=tasks, delay_s=delay_s):
                    self.statistics[tasks[0].stage].retries += len(tasks)
                    for task in tasks:
                        task.waiting_since = now
                    self.flow.queues[tasks[0].stage].put_back(tasks, now + delay_s if delay_s else None)
                case DeferVerdict(task=task, delay_s=delay_s):
                    self._deferred[task] = decision
                    self.flow.queues[task.stage].put_back([task], now + delay_s)
                case Replay(task=task):
                    self.flow.replay(task)
                case Reject(task=task, status=status, code=code, sentence=sentence, lasting=lasting):
                    self.flow.reject(task, Rejection(status, task.stage, code, sentence), lasting=lasting)
                    self._check_never_succeeded(decision)

    def _check_never_succeeded(self, reject: Reject) -> None:
        stage = reject.task.stage
        if reject.status is Status.QUARANTINED and not self.statistics[stage].records:
            self._never_succeeded[stage] += 1
            if self._never_succeeded[stage] >= self.config.give_up_after:
                problem = f"stage {stage}: the first {self._never_succeeded[stage]} records were all quarantined"
                raise RunStopped("stage_hopeless", f"{problem}, the last one: {reject.sentence}")

    def _report_retry(self, tasks: Sequence[StageTask], code: str, sentence: str) -> None:
        data = {"records": [task.leader.record.id for task in tasks], "code": code, "sentence": sentence}
        self.on_event(Event(EventKind.BATCH_RETRIED, tasks[0].stage, data))


def _subtract_run(batch: Batch) -> None:
    for task in batch.tasks:
        task.runs -= 1
