"""Rules that isolate failures per record.

A batch that fails as a whole (its worker crashed or hung, the stage raised, memory ran out, a payload is lost) is
retried in halves, and those in halves again, down to single records. Only a record that is alone in its batch can be
rejected, so that no record is blamed for another one.

Alone in its batch, a record is quarantined the second time it hangs, raises, exhausts memory or ends its worker. A
worker that vanished, or whose GPU failed, is ambiguous: a crash caused by the record looks like a kill from outside,
and a GPU that the record broke looks like a defective one. In these cases the verdict is deferred for a while, during
which the record does not run. If meanwhile a worker without this record is lost in the same way, the record is
retried, up to a larger number of times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from manifests.run.outcome import Status
from pipelines.engine.config import EngineConfig
from pipelines.engine.executors.base import LossCause
from pipelines.engine.interrupts import RunStopped
from pipelines.engine.tasks import StageTask
from stages.base import Failed, FailureKind

_MAX_REPLAYS = 5  # number of times that a record may lose payloads


@dataclass(frozen=True)
class Retry:
    """Retry these tasks after a delay, in one batch without others."""

    tasks: list[StageTask]
    delay_s: float = 0.0


@dataclass(frozen=True)
class DeferVerdict:
    """Decide about this task later; it does not run in the meantime."""

    task: StageTask
    rejection: Reject
    delay_s: float


@dataclass(frozen=True)
class Reject:
    """End the records of this task; if the failure is `lasting`, also later records that share the task."""

    task: StageTask
    status: Status
    code: str
    sentence: str
    lasting: bool = True


@dataclass(frozen=True)
class Replay:
    """Compute the lost inputs of this task again."""

    task: StageTask


Decision: TypeAlias = Retry | DeferVerdict | Reject | Replay

_AMBIGUOUS = {LossCause.DIED, LossCause.GPU}

_SENTENCES = {
    LossCause.DIED: "it killed its worker {n} times when it was alone in its batch ({sentence})",
    LossCause.GPU: "it broke the GPU context of its worker {n} times when it was alone in its batch ({sentence})",
    LossCause.EXITED: "it ended its worker {n} times when it was alone in its batch ({sentence})",
    LossCause.OUT_OF_MEMORY: "it ran out of memory {n} times when it was alone in its batch ({sentence})",
    LossCause.TIME_LIMIT: "it hung {n} times when it was alone in its batch ({sentence})",
}


class FailureRules:
    """Rules that map failures to decisions; the only state is the number of workers that vanished or lost their GPU."""

    def __init__(self, config: EngineConfig) -> None:
        self._config = config
        self._worker_crashes = 0

    def decide_on_outcome(self, task: StageTask, failed: Failed) -> Decision:
        """Decide about a failure that a stage returned for one record; `decide_on_batch` handles out-of-memory.

        Raises:
            RunStopped: no record can succeed.
        """
        match failed.kind:
            case FailureKind.STOP:
                raise RunStopped(failed.code, failed.sentence)
            case FailureKind.IO:
                if task.io_failures < self._config.io_retries:
                    delay_s = max(self._config.io_backoff_s * 2**task.io_failures, failed.retry_after_s)
                    delay_s = min(delay_s, self._config.io_backoff_max_s)
                    task.io_failures += 1
                    return Retry([task], delay_s)
                return Reject(task, Status.FAILED, failed.code, failed.sentence, lasting=False)
            case FailureKind.BAD_INPUT:
                return Reject(task, Status.FAILED, failed.code, failed.sentence)
            case _:
                return Reject(task, Status.QUARANTINED, failed.code, failed.sentence)

    def decide_on_batch(self, tasks: list[StageTask], failed: Failed, *, batch_size: int) -> list[Decision]:
        """Decide about tasks of a batch for which the stage raised, or about those that ran out of memory.

        Raises:
            RunStopped: no record can succeed.
        """
        if failed.kind is FailureKind.STOP:
            raise RunStopped(failed.code, failed.sentence)
        if len(tasks) > 1:
            return _halves(tasks)
        if batch_size > 1:
            return [Retry(tasks)]
        if failed.kind in (FailureKind.POISON, FailureKind.OUT_OF_MEMORY):
            return [self._decide_on_solo_failure(tasks[0], failed.code, failed.sentence)]
        return [self.decide_on_outcome(tasks[0], failed)]

    def decide_on_lost_worker(self, tasks: list[StageTask], cause: LossCause, sentence: str) -> list[Decision]:
        """Decide about the batch that a lost worker was running; it has no tasks if the worker was idle."""
        if cause in _AMBIGUOUS:
            self._worker_crashes += 1
            for task in tasks:
                task.worker_crashes += 1
        if not tasks or cause is LossCause.NODE:
            return [Retry(tasks)] if tasks else []
        if len(tasks) > 1:
            return _halves(tasks)

        (task,) = tasks
        if cause in _AMBIGUOUS and task.solo_failures == 0:
            task.other_crashes = self._worker_crashes - task.worker_crashes
        text = _SENTENCES[cause].format(n=task.solo_failures + 1, sentence=sentence)
        decision = self._decide_on_solo_failure(task, cause.value, text)
        may_defer = cause in _AMBIGUOUS and task.solo_failures < self._config.solo_failures_max
        if isinstance(decision, Reject) and may_defer:
            return [DeferVerdict(task, decision, self._config.verdict_s)]
        return [decision]

    def decide_on_lost_payload(self, tasks: list[StageTask], sentence: str) -> list[Decision]:
        """Decide about a batch with lost inputs; halving finds the task concerned, as for any failure."""
        if len(tasks) > 1:
            return _halves(tasks)
        (task,) = tasks
        if task.leader.replays < _MAX_REPLAYS:
            return [Replay(task)]
        text = f"lost its payloads repeatedly: {sentence}"
        return [Reject(task, Status.QUARANTINED, "payload_lost", text, lasting=False)]

    def decide_deferred(self, deferred: DeferVerdict) -> Decision:
        """Decide about a task whose verdict was deferred."""
        task = deferred.task
        other_crashes = self._worker_crashes - task.worker_crashes
        no_other_crash = other_crashes == task.other_crashes
        task.other_crashes = other_crashes
        return deferred.rejection if no_other_crash else Retry([task])

    def _decide_on_solo_failure(self, task: StageTask, code: str, sentence: str) -> Retry | Reject:
        task.solo_failures += 1
        if task.solo_failures < self._config.solo_failures:
            return Retry([task])
        return Reject(task, Status.QUARANTINED, code, sentence)


def _halves(tasks: list[StageTask]) -> list[Decision]:
    middle = (len(tasks) + 1) // 2
    return [Retry(tasks[:middle]), Retry(tasks[middle:])]
