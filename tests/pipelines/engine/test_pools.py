"""The pool of a stage finds free and overdue workers, in the same time for any number of workers."""

import itertools
import random

import pytest

from manifests.record import Record
from pipelines.engine.executors.base import BatchProgress, LossCause
from pipelines.engine.graph import Route, StageSpec
from pipelines.engine.pools import WorkerPool
from pipelines.engine.tasks import Payload, RecordState, StageTask


class _Executor:
    """An executor whose workers exist only by number."""

    def __init__(self, n_workers):
        self.n_workers = n_workers

    def count_workers(self, spec):
        return self.n_workers

    def start_worker(self, worker, spec):
        pass

    def submit(self, worker, ticket, entries):
        pass


def make_pool(n_workers, **options):
    spec = StageSpec(name="only", stage=None, output="only", workers=n_workers, **options)
    pool = WorkerPool(spec, _Executor(n_workers), itertools.count(), 1800.0)
    pool.start(0.0)
    pool.start_due_workers(0.0)
    return pool


def test_the_worker_with_the_fewest_batches_is_next_and_full_or_lone_ones_are_not():
    pool = make_pool(2)
    assert pool.find_free_worker() is None  # none is ready
    pool.set_ready(0, 0.0)
    pool.set_ready(1, 0.0)
    assert pool.find_free_worker() == (0, 2)
    first = pool.submit(0, [], 0.0, alone=False)
    assert pool.find_free_worker() == (1, 1)
    lone = pool.submit(1, [], 0.0, alone=True)
    for _ in range(pool.spec.slots - 1):
        assert pool.find_free_worker() == (0, 0)
        pool.submit(0, [], 0.0, alone=False)
    assert pool.find_free_worker() is None
    pool.finish_batch(lone, 1.0)
    assert pool.find_free_worker() == (1, 1)
    pool.finish_batch(first, 1.0)
    assert pool.find_free_worker() == (1, 1)


def make_task(*payloads):
    inputs = {str(at): Payload(None, {"bytes": n_bytes}, node) for at, (n_bytes, node) in enumerate(payloads)}
    record = RecordState(Record(id="r"), Route(()))
    return StageTask("only", [record], inputs, key=None, bucket=None, waiting_since=0.0)


def test_a_batch_goes_to_a_free_worker_on_the_node_that_stores_most_of_its_inputs():
    pool = make_pool(4)
    for number, node in enumerate("abbc"):
        pool.set_ready(number, 0.0, node)
    task = make_task((100, "a"), (300, "b"), (200, "c"))
    assert pool.find_nearest_worker(0, [task]) == 1
    assert pool.count_moved_bytes(1, [task, task]) == 300  # one fetch serves both
    pool.submit(1, [task], 0.0, alone=False)
    assert pool.find_nearest_worker(0, [task]) == 2
    pool.submit(2, [task], 0.0, alone=False)
    assert pool.find_nearest_worker(0, [task]) == 0  # the workers on that node are busy
    pool.remove(1, LossCause.NODE, "", 0.0)
    pool.remove(2, LossCause.NODE, "", 0.0)
    assert pool.find_nearest_worker(3, [task]) == 3


def test_without_known_nodes_nothing_moves():
    pool = make_pool(2)
    pool.set_ready(0, 0.0)
    task = make_task((100, None), (200, "a"))
    assert pool.find_nearest_worker(0, [task]) == 0
    assert pool.count_moved_bytes(0, [make_task((100, None))]) == 0


def test_only_the_running_batch_of_a_worker_can_be_overdue():
    pool = make_pool(1, time_limit_s=10.0)
    pool.set_ready(0, 0.0)
    first = pool.submit(0, [], 0.0, alone=False)
    second = pool.submit(0, [], 0.0, alone=False)
    assert pool.find_overdue(10.0) == []
    pool.finish_batch(first, 9.0)
    assert pool.find_overdue(18.0) == []  # the second batch has run since 9
    assert pool.find_overdue(19.5) == [0]
    assert second.started == 9.0


def test_a_batch_that_advances_is_not_overdue():
    pool = make_pool(1, time_limit_s=10.0)
    pool.set_ready(0, 0.0)
    batch = pool.submit(0, [], 0.0, alone=False)
    for now, units in ((8.0, 1.0), (16.0, 2.0), (24.0, 2.0)):  # the last report has nothing new
        batch.report(BatchProgress(batch.ticket, 0.0, units, now), now)
        assert pool.find_overdue(now + 1.0) == []
    assert pool.find_overdue(26.5) == [0]


@pytest.mark.parametrize("seed", range(5))
def test_counts_are_those_of_the_batches_whatever_happens(seed):
    draw, pool = random.Random(seed), make_pool(8, time_limit_s=5.0)
    batches, alive, now = [], set(range(8)), 0.0
    for number in alive:
        pool.set_ready(number, 0.0)
    for _ in range(500):
        now += draw.random()
        action = draw.random()
        if action < 0.5 and (free := pool.find_free_worker()):
            batches.append(pool.submit(free[0], [], now, alone=bool(free[1]) and draw.random() < 0.2))
        elif action < 0.95 and batches:
            batch = draw.choice([batch for batch in batches if batch.started is not None])
            batches.remove(batch)
            pool.finish_batch(batch, now)
        elif alive:
            number = draw.choice(sorted(alive))
            alive.discard(number)
            lost = pool.remove(number, LossCause.DIED, "gone", now)
            assert [batch for batch in batches if batch.worker == number] == lost
            batches = [batch for batch in batches if batch.worker != number]
            pool.start_due_workers(now)
            new = max(number for number in range(10_000) if number in pool)
            pool.set_ready(new, 0.0)
            alive.add(new)
        running = [batch for batch in batches if batch.started is not None]
        assert pool.ready == len(alive)
        assert pool.n_running == len(batches)
        assert pool.compute_running_s(now) == pytest.approx(sum(now - batch.started for batch in running))
        loads = {number: sum(batch.worker == number for batch in batches) for number in alive}
        lone = {batch.worker for batch in batches if batch.alone}
        open_loads = [n for number, n in loads.items() if number not in lone and n < pool.spec.slots]
        free = pool.find_free_worker()
        assert (free is None) == (not open_loads)
        if free:
            assert loads[free[0]] == min(open_loads)
