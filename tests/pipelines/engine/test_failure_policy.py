"""Who is blamed when a worker dies."""

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


def die(rules, tasks, cause=LossCause.DIED):
    return rules.decide_on_lost_worker(tasks, cause, "")


@pytest.fixture(params=[LossCause.DIED, LossCause.GPU])
def cause(request):
    """Of a loss that nobody can tell from outside whose fault it is."""
    return request.param


def test_a_batch_whose_worker_died_is_halved_and_blames_nobody():
    tasks = [task(str(i)) for i in range(5)]
    first, second = die(FailureRules(EngineConfig()), tasks)
    assert (first.tasks, second.tasks) == (tasks[:3], tasks[3:])
    assert all(w.solo_failures == 0 for w in tasks)


def test_two_crashes_alone_while_no_other_worker_crashes_convict(cause):
    rules, suspect = FailureRules(EngineConfig(verdict_s=3)), task()
    assert die(rules, [suspect], cause) == [Retry([suspect])]
    (deferred,) = die(rules, [suspect], cause)
    assert isinstance(deferred, DeferVerdict)
    assert deferred.delay_s == 3
    verdict = rules.decide_deferred(deferred)
    assert isinstance(verdict, Reject)
    assert (verdict.status, verdict.code) == (Status.QUARANTINED, cause.value)
    assert "2 times" in verdict.sentence


@pytest.mark.parametrize("others", [[], [task("other")], [task("a"), task("b")]])
def test_a_death_elsewhere_before_the_verdict_gives_another_try(others, cause):
    rules, suspect = FailureRules(EngineConfig()), task()
    die(rules, [suspect], cause)
    (deferred,) = die(rules, [suspect], cause)
    die(rules, others, cause)
    assert rules.decide_deferred(deferred) == Retry([suspect])
    (deferred,) = die(rules, [suspect], cause)
    assert isinstance(rules.decide_deferred(deferred), Reject)  # it was calm this time


def test_a_record_that_never_survives_is_convicted_in_a_storm_too():
    rules, suspect = FailureRules(EngineConfig(solo_failures_max=4)), task()
    tries = 0
    while True:
        tries += 1
        (decision,) = die(rules, [suspect])
        die(rules, [])
        if isinstance(decision, DeferVerdict):
            decision = rules.decide_deferred(decision)
        if isinstance(decision, Reject):
            break
    assert tries == 4


def test_earlier_crashes_in_company_are_no_evidence_of_a_killer():
    rules, suspect, neighbour = FailureRules(EngineConfig()), task(), task("neighbour")
    die(rules, [suspect, neighbour])
    die(rules, [suspect])
    (deferred,) = die(rules, [suspect])
    assert isinstance(rules.decide_deferred(deferred), Reject)


@pytest.mark.parametrize("cause", [LossCause.TIME_LIMIT, LossCause.EXITED, LossCause.OUT_OF_MEMORY])
def test_a_known_cause_convicts_at_the_second_time_at_once(cause):
    rules, suspect = FailureRules(EngineConfig()), task()
    assert die(rules, [suspect], cause) == [Retry([suspect])]
    (decision,) = die(rules, [suspect], cause)
    assert isinstance(decision, Reject)
    assert (decision.status, decision.code) == (Status.QUARANTINED, cause.value)


def test_the_death_of_a_machine_blames_nobody_and_splits_nothing():
    rules, tasks = FailureRules(EngineConfig()), [task("a"), task("b")]
    for _ in range(10):
        assert die(rules, tasks, LossCause.NODE) == [Retry(tasks)]
        assert die(rules, tasks[:1], LossCause.NODE) == [Retry(tasks[:1])]


def test_the_death_of_an_idle_worker_asks_for_nothing():
    assert die(FailureRules(EngineConfig()), []) == []


def test_back_off_doubles_up_to_its_bound():
    rules, suspect = FailureRules(EngineConfig(io_retries=4, io_backoff_s=1, io_backoff_max_s=5)), task()
    failed = Failed(FailureKind.IO, "storage", "no answer")
    delays = [rules.decide_on_outcome(suspect, failed).delay_s for _ in range(4)]
    assert delays == [1, 2, 4, 5]
    assert rules.decide_on_outcome(suspect, failed).status is Status.FAILED
