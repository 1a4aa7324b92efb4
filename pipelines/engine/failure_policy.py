"""The rules by which one record's failure stays that record's alone.

A batch that fails as a whole (its worker died or hung, the stage raised, memory ran out, a payload is gone) is run
again in halves, and those again, down to the single record; only then is there a verdict. So nobody is blamed for the
company it kept.

Alone in its batch, a record is quarantined the second time it hangs, raises, exhausts memory or ends its worker.
A worker that just vanished, or whose GPU failed, is a harder case: a crash of the record's making and a kill from
outside look the same, and so do a GPU that the record brought down and one that is dying. There the verdict is put off
for a while, in which the record does not run. If meanwhile a worker is lost in such a way that had nothing to do with
it, the record is tried again, up to a larger number of times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from joyvasa.errors import ConfigError
from manifests.run.outcome import Status
from pipelines.engine.executors.base import Cause
from pipelines.engine.tasks import Work
from stages.base import Failed, Kind


@dataclass(frozen=True, kw_only=True)
class FailureConfig:
    """How patient the engine is.

    Attributes:
        io_retries: runs after the first for a file or service that does not answer.
        io_backoff_s, io_backoff_max_s: wait before the first of them, doubled each time, and its bound.
        solo_failures: failures alone in a batch that convict a record.
        solo_failures_max: the same while workers die for other reasons, too.
        verdict_s: how long a verdict is put off after a worker vanished or its GPU failed.
        replays: how often a record may lose payloads.
        give_up_after: records quarantined by a stage that has never succeeded, after which the run stops: it is the
            stage, not the records.
    """

    io_retries: int = 3
    io_backoff_s: float = 1.0
    io_backoff_max_s: float = 60.0
    solo_failures: int = 2
    solo_failures_max: int = 5
    verdict_s: float = 10.0
    replays: int = 5
    give_up_after: int = 16

    def __post_init__(self) -> None:
        if not 1 <= self.solo_failures <= self.solo_failures_max:
            raise ConfigError(
                "failure_option",
                f"solo_failures is {self.solo_failures}; expected 1 to solo_failures_max ({self.solo_failures_max})",
            )


@dataclass(frozen=True)
class Retry:
    """Run these works again, together and with no others, after a while."""

    works: list[Work]
    delay_s: float = 0.0


@dataclass(frozen=True)
class PutOff:
    """Ask for the verdict on this work later; it does not run meanwhile."""

    work: Work
    rejection: Reject
    delay_s: float


@dataclass(frozen=True)
class Reject:
    """The records of this work end here; later ones that would share it too, if the failure is `lasting`."""

    work: Work
    status: Status
    code: str
    sentence: str
    lasting: bool = True


@dataclass(frozen=True)
class Replay:
    """The inputs of this work are gone: compute them again."""

    work: Work


@dataclass(frozen=True)
class StopRun:
    """Nothing can go on."""

    failure: Failed


Decision: TypeAlias = Retry | PutOff | Reject | Replay | StopRun

_AMBIGUOUS = {Cause.DIED, Cause.GPU}

_SENTENCES = {
    Cause.DIED: "it killed its worker {n} times when it was alone in its batch ({sentence})",
    Cause.GPU: "it broke the GPU context of its worker {n} times when it was alone in its batch ({sentence})",
    Cause.EXITED: "it ended its worker {n} times when it was alone in its batch ({sentence})",
    Cause.OUT_OF_MEMORY: "it ran out of memory {n} times when it was alone in its batch ({sentence})",
    Cause.TIME_LIMIT: "it hung {n} times when it was alone in its batch ({sentence})",
}


class FailureRules:
    """Turns failures into decisions. Remembers nothing but how many workers vanished or lost their GPU.

    Args:
        config: how patient to be.
    """

    def __init__(self, config: FailureConfig) -> None:
        self._config = config
        self._deaths = 0

    def of_outcome(self, work: Work, failed: Failed) -> Decision:
        """A stage returned a failure for one record; memory goes to `of_batch`."""
        match failed.kind:
            case Kind.STOP:
                return StopRun(failed)
            case Kind.IO:
                if work.io_failures < self._config.io_retries:
                    delay_s = min(self._config.io_backoff_s * 2**work.io_failures, self._config.io_backoff_max_s)
                    work.io_failures += 1
                    return Retry([work], delay_s)
                return Reject(work, Status.FAILED, failed.code, failed.sentence, lasting=False)
            case Kind.BAD_INPUT:
                return Reject(work, Status.FAILED, failed.code, failed.sentence)
            case _:
                return Reject(work, Status.QUARANTINED, failed.code, failed.sentence)

    def of_batch(self, works: list[Work], failed: Failed, *, batch_size: int) -> list[Decision]:
        """A stage raised for a whole batch, or ran out of memory for some works of one.

        Args:
            works: that failed.
            failed: how.
            batch_size: of the batch.
        """
        if failed.kind is Kind.STOP:
            return [StopRun(failed)]
        if len(works) > 1:
            return _halves(works)
        if batch_size > 1:
            return [Retry(works)]
        if failed.kind in (Kind.POISON, Kind.OUT_OF_MEMORY):
            return [self._solo(works[0], failed.code, failed.sentence)]
        return [self.of_outcome(works[0], failed)]

    def of_lost_worker(self, works: list[Work], cause: Cause, sentence: str) -> list[Decision]:
        """A worker is gone with the batch that it was running.

        Args:
            works: of that batch; empty if the worker had nothing to do.
            cause: why it is gone.
            sentence: the same in words.
        """
        if cause in _AMBIGUOUS:
            self._deaths += 1
            for work in works:
                work.deaths += 1
        if not works or cause is Cause.NODE:
            return [Retry(works)] if works else []
        if len(works) > 1:
            return _halves(works)
        (work,) = works
        if cause in _AMBIGUOUS and work.solo_failures == 0:
            work.other_deaths = self._deaths - work.deaths
        text = _SENTENCES[cause].format(n=work.solo_failures + 1, sentence=sentence)
        decision = self._solo(work, cause.value, text)
        patient = cause in _AMBIGUOUS and work.solo_failures < self._config.solo_failures_max
        if isinstance(decision, Reject) and patient:
            return [PutOff(work, decision, self._config.verdict_s)]
        return [decision]

    def of_lost_payload(self, works: list[Work], sentence: str) -> list[Decision]:
        """Inputs of a batch are gone. Which ones is found as for any other failure: by halves."""
        if len(works) > 1:
            return _halves(works)
        (work,) = works
        if work.leader.replays < self._config.replays:
            return [Replay(work)]
        return [Reject(work, Status.QUARANTINED, "payload_lost", f"lost its payloads again and again: {sentence}")]

    def verdict(self, put_off: PutOff) -> Decision:
        """What becomes of a record after its verdict was put off."""
        work = put_off.work
        others = self._deaths - work.deaths
        calm = others == work.other_deaths
        work.other_deaths = others
        return put_off.rejection if calm else Retry([work])

    def _solo(self, work: Work, code: str, sentence: str) -> Retry | Reject:
        work.solo_failures += 1
        if work.solo_failures < self._config.solo_failures:
            return Retry([work])
        return Reject(work, Status.QUARANTINED, code, sentence)


def _halves(works: list[Work]) -> list[Decision]:
    middle = (len(works) + 1) // 2
    return [Retry(works[:middle]), Retry(works[middle:])]
