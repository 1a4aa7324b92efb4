"""Batches of waiting tasks."""

import pytest

from manifests.record import Record
from pipelines.engine.graph import Route, StageSpec
from pipelines.engine.tasks import RecordState, StageQueue, StageTask


def fill_queue(n_tasks, buckets=(None,)):
    queue = StageQueue(StageSpec(name="only", stage=None, output="only", batch_size=4, batch_wait_s=10.0))
    for number in range(n_tasks):
        record = RecordState(Record(id=f"r{number}"), Route(()))
        bucket = buckets[number % len(buckets)]
        queue.put(StageTask("only", [record], {}, key=None, bucket=bucket, waiting_since=0.0))
    return queue


def take_batches(queue, idle_workers, *, more_coming=False):
    """Return the sizes of the batches that idle workers get one after another."""
    sizes = []
    while idle_workers and (due := queue.next_batch(0.0, more_coming=more_coming, idle_workers=idle_workers)):
        sizes.append(len(due[0]))
        idle_workers -= 1
    return sizes


@pytest.mark.parametrize(
    ("n_tasks", "idle_workers", "sizes"),
    [(4, 2, [2, 2]), (5, 2, [3, 2]), (10, 2, [4, 4]), (3, 8, [1, 1, 1]), (4, 1, [4])],
)
def test_idle_workers_share_the_last_tasks(n_tasks, idle_workers, sizes):
    assert take_batches(fill_queue(n_tasks), idle_workers) == sizes


def test_idle_workers_get_whole_buckets_if_there_are_enough():
    assert take_batches(fill_queue(8, buckets="ab"), 2) == [4, 4]


def test_while_records_follow_batches_are_full():
    assert take_batches(fill_queue(6), 2, more_coming=True) == [4]


def test_a_busy_worker_gets_full_batches_only():
    assert fill_queue(3).next_batch(0.0, more_coming=False, idle_workers=0) is None
    assert len(fill_queue(5).next_batch(0.0, more_coming=False, idle_workers=0)[0]) == 4
