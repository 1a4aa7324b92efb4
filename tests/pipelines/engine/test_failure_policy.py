"""Decisions about failures, and which record is blamed when a worker is lost."""

import pytest

from manifests.record import Record
from manifests.run.outcome import Status
from pipelines.engine.config import EngineConfig
from pipelines.engine.executors.base import LossCause
from pipelines.engine.failure_policy import DeferVerdict, FailureRules, Reject, Retry
from pipelines.engine.graph import Route
from pipelines.engine.tasks import RecordState, StageTask
from stages.base import Failed, FailureKind


def task(name="r0"):
    state = RecordState(Record(id=name), Route(()))
    return StageTask(stage="render", waiters=[state], inputs={}, key=None, bucket=None, waiting_since=0.0)


def lose_worker(rules, tasks, cause=LossCause.DIED):
    return rules.decide_on_lost_worker(tasks, cause, "")


@pytest.fixture(params=[LossCause.DIED, LossCause.GPU])
def cause(request):
    """Return a cause that may or may not be the fault of the record."""
    return request.param


def test_a_batch_whose_worker_died_is_halved_without_blame():
    tasks = [task(str(i)) for i in range(5)]
    first, second = lose_worker(FailureRules(EngineConfig()), tasks)
    assert (first.tasks, second.tasks) == (tasks[:3], tasks[3:])
    assert all(w.solo_failures == 0 for w in tasks)


def test_two_crashes_alone_while_no_other_worker_crashes_quarantine(cause):
    rules, suspect = FailureRules(EngineConfig(verdict_s=3)), task()
    assert lose_worker(rules, [suspect], cause) == [Retry([suspect])]
    (deferred,) = lose_worker(rules, [suspect], cause)
    assert isinstance(deferred, DeferVerdict)
    assert deferred.delay_s == 3
    verdict = rules.decide_deferred(deferred)
    assert isinstance(verdict, Reject)
    assert (verdict.status, verdict.code) == (Status.QUARANTINED, cause.value)
    assert "2 times" in verdict.sentence


@pytest.mark.parametrize("others", [[], [task("other")], [task("a"), task("b")]])
def test_another_crash_before_the_verdict_gives_another_retry(others, cause):
    rules, suspect = FailureRules(EngineConfig()), task()
    lose_worker(rules, [suspect], cause)
    (deferred,) = lose_worker(rules, [suspect], cause)
    lose_worker(rules, others, cause)
    assert rules.decide_deferred(deferred) == Retry([suspect])
    (deferred,) = lose_worker(rules, [suspect], cause)
    assert isinstance(rules.decide_deferred(deferred), Reject)  # no other worker crashed this time


def test_a_record_that_always_crashes_is_quarantined_even_while_other_workers_crash():
    rules, suspect = FailureRules(EngineConfig(solo_failures_max=4)), task()
    n_tries = 0
    while True:
        n_tries += 1
        (decision,) = lose_worker(rules, [suspect])
        lose_worker(rules, [])
        if isinstance(decision, DeferVerdict):
            decision = rules.decide_deferred(decision)
        if isinstance(decision, Reject):
            break
    assert n_tries == 4


def test_earlier_crashes_of_a_shared_batch_are_no_evidence():
    rules, suspect, neighbor = FailureRules(EngineConfig()), task(), task("neighbor")
    lose_worker(rules, [suspect, neighbor])
    lose_worker(rules, [suspect])
    (deferred,) = lose_worker(rules, [suspect])
    assert isinstance(rules.decide_deferred(deferred), Reject)


@pytest.mark.parametrize("cause", [LossCause.TIME_LIMIT, LossCause.EXITED, LossCause.OUT_OF_MEMORY])
def test_an_unambiguous_cause_quarantines_at_the_second_failure(cause):
    rules, suspect = FailureRules(EngineConfig()), task()
    assert lose_worker(rules, [suspect], cause) == [Retry([suspect])]
    (decision,) = lose_worker(rules, [suspect], cause)
    assert isinstance(decision, Reject)
    assert (decision.status, decision.code) == (Status.QUARANTINED, cause.value)


def test_the_loss_of_a_node_blames_no_record_and_splits_no_batch():
    rules, tasks = FailureRules(EngineConfig()), [task("a"), task("b")]
    for _ in range(10):
        assert lose_worker(rules, tasks, LossCause.NODE) == [Retry(tasks)]
        assert lose_worker(rules, tasks[:1], LossCause.NODE) == [Retry(tasks[:1])]


def test_the_loss_of_an_idle_worker_needs_no_decision():
    assert lose_worker(FailureRules(EngineConfig()), []) == []


def test_back_off_doubles_up_to_its_limit():
    rules, suspect = FailureRules(EngineConfig(io_retries=4, io_backoff_s=1, io_backoff_max_s=5)), task()
    failed = Failed(FailureKind.IO, "storage", "no answer")
    delays = [rules.decide_on_outcome(suspect, failed).delay_s for _ in range(4)]
    assert delays == [1, 2, 4, 5]
    assert rules.decide_on_outcome(suspect, failed).status is Status.FAILED
