"""Workers are killed during a run: no record is lost, duplicated or rejected."""

import os
import random
import signal
import threading
import time

import pytest
import ray

from manifests.run.outcome import Status
from pipelines.engine.events import EventKind
from pipelines.engine.executors.ray import RayExecutor
from pipelines.engine.graph import Pipeline, StageSpec
from pipelines.engine.loop import run_pipeline
from tests.pipelines.engine.toy_stages import Draw, records

pytestmark = pytest.mark.slow


MIN_WORKERS = 2  # number of running workers that are left; with fewer, a record could be killed in each of its attempts


class Killer(threading.Thread):
    """Repeatedly kills one of the processes whose ids are in a folder; waits if too few are running."""

    def __init__(self, folder, every_s):
        super().__init__(daemon=True)
        self.folder, self.every_s, self.stop, self.killed = folder, every_s, threading.Event(), set()
        self.random = random.Random(1)

    def run(self):
        while not self.stop.wait(self.every_s):
            registered = {int(file.name) for file in self.folder.iterdir()} - self.killed
            alive = [process for process in registered if os.path.exists(f"/proc/{process}")]
            if len(alive) > MIN_WORKERS:
                try:
                    os.kill(process := self.random.choice(sorted(alive)), signal.SIGKILL)
                    self.killed.add(process)  # a killed process exists until its parent notices
                except ProcessLookupError:
                    pass


class RegisteredStage(Draw):
    """Writes its process id into a folder when it runs: before, its death would be that of a worker that starts."""

    def run(self, batch):
        (self.folder / str(os.getpid())).touch()
        return super().run(batch)

    def __init__(self, name, folder, seconds):
        super().__init__(name, seconds=seconds)
        self.folder = folder


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init(address="local", num_cpus=4, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False)
    yield
    ray.shutdown()


def run_with_killer(folder, n, every_s, seconds, batch_size):
    def spec(name, *inputs, duration_s=0.0):
        stage = RegisteredStage(name, folder, duration_s)
        return StageSpec(name=name, stage=stage, inputs=inputs, num_cpus=0.1, batch_size=batch_size)

    pipeline = Pipeline(
        (
            spec("portrait"),
            spec("motion"),
            spec("render", "portrait", "motion", duration_s=seconds),
            spec("commit", "render"),
        )
    )
    finished, lost = [], []

    def on_event(event):
        if event.kind is EventKind.WORKER_LOST:
            lost.append(event.data)

    killer = Killer(folder, every_s)
    killer.start()
    start = time.monotonic()
    try:
        run_pipeline(pipeline, records(n), finished.append, executor=RayExecutor(), on_event=on_event)
    finally:
        killer.stop.set()
        killer.join()
    assert sorted(record.record.id for record in finished) == sorted(record.id for record in records(n))
    assert all(record.status is Status.OK for record in finished), [r.rejection for r in finished if r.rejection]
    print(f"{n} records, {len(killer.killed)} kills, {len(lost)} workers lost, {time.monotonic() - start:.0f} s")
    return len(killer.killed), len(lost)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_every_record_ends_ok_while_a_worker_is_killed_every_second(tmp_path, batch_size):
    kills, lost = run_with_killer(tmp_path, 64, every_s=1.0, seconds=0.2 * batch_size, batch_size=batch_size)
    assert kills >= 3
    assert kills - 1 <= lost <= kills


@pytest.mark.parametrize("batch_size", [1, 8])
def test_two_hundred_records_end_ok_while_a_worker_is_killed_every_three_seconds(tmp_path, batch_size):
    kills, lost = run_with_killer(tmp_path, 200, every_s=3.0, seconds=0.3 * batch_size, batch_size=batch_size)
    assert kills >= 10
    assert kills - 1 <= lost <= kills
