"""Workers as Ray actors give the same results as in this process, and leave nothing behind."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import pytest
import ray

from manifests.run.outcome import Status
from pipelines.engine import pools
from pipelines.engine.config import EngineConfig
from pipelines.engine.events import EventKind
from pipelines.engine.executors.local import LocalExecutor
from pipelines.engine.executors.ray import RayExecutor
from pipelines.engine.graph import Pipeline, StageSpec
from pipelines.engine.interrupts import RunStopped
from stages.base import Ok, Stage
from tests.pipelines.engine import toy_stages
from tests.pipelines.engine.toy_stages import (
    Big,
    BrokenSetup,
    Draw,
    Shared,
    Slow,
    Trouble,
    diamond,
    note,
    read_notes,
    records,
)

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init(address="local", num_cpus=4, include_dashboard=False, object_store_memory=200 << 20, log_to_driver=False)
    yield
    ray.shutdown()


def finish(pipeline, rows, executor=None, **options):
    return toy_stages.finish(pipeline, rows, executor or RayExecutor(), **options)


def single_stage(stage, **options):
    return toy_stages.single_stage(stage, num_cpus=0.1, **options)


@pytest.mark.parametrize(
    ("batch_size", "workers"),
    [pytest.param(1, 1, marks=pytest.mark.slow), (4, 2), pytest.param(16, 1, marks=pytest.mark.slow)],
)
def test_results_are_those_of_the_local_executor_for_any_batch_size_order_and_number_of_workers(batch_size, workers):
    expected, _ = finish(diamond(batch_size=4), records(40), LocalExecutor())
    rows = records(40)[::-1] if batch_size == 4 else records(40)
    finished, _ = finish(diamond(batch_size=batch_size, workers=workers), rows)
    assert finished.keys() == expected.keys()
    for name, record in finished.items():
        assert record.facts == expected[name].facts


def test_failures_are_those_of_the_local_executor(tmp_path):
    troubles = ["bad_input", "nan", "raise", "io", "io_twice", "out_of_memory", "sys_exit", "raise_bad_input"]
    rows = records(40, trouble={3 * i: trouble for i, trouble in enumerate(troubles)})
    (tmp_path / "ray").mkdir()
    (tmp_path / "local").mkdir()
    over_ray, _ = finish(single_stage(Trouble(tmp_path / "ray"), batch_size=8), rows)
    local, _ = finish(single_stage(Trouble(tmp_path / "local"), batch_size=8), rows, LocalExecutor())
    assert sum(record.status is not Status.OK for record in local.values()) == 7

    def reason(record):
        return (record.status, record.rejection and record.rejection.code)

    assert {name: reason(r) for name, r in over_ray.items()} == {name: reason(r) for name, r in local.items()}


@pytest.mark.slow
def test_large_payloads_go_from_worker_to_worker_and_are_freed():
    pipeline = diamond(Big, batch_size=4)
    # 600 MB in all, room for 200
    finished, statistics = finish(pipeline, records(60), config=EngineConfig(max_bytes=100 << 20))
    assert all(record.status is Status.OK for record in finished.values())
    assert not any(stage.moved_bytes for stage in statistics.stages.values())  # there is one node


def test_a_shared_result_is_computed_once_and_serves_all(tmp_path):
    share = {"share": lambda record, facts: record.image}
    pipeline = Pipeline(
        (
            StageSpec(name="portrait", stage=Shared(tmp_path), num_cpus=0.1, **share),
            StageSpec(name="render", stage=Draw("render"), num_cpus=0.1, inputs=("portrait",), batch_size=8),
        )
    )
    rows = records(64, image={i: "ab"[i % 2] for i in range(64)})
    finished, _ = finish(pipeline, rows)
    assert len(finished) == 64
    assert sorted(read_notes(tmp_path / "shared")) == ["a", "b"]


@pytest.mark.slow
def test_a_slow_stage_is_busy_while_records_wait():
    pipeline = Pipeline(
        (
            StageSpec(name="motion", stage=Draw("motion"), num_cpus=0.1, batch_size=4),
            StageSpec(name="render", stage=Draw("render", seconds=0.4), num_cpus=0.1, inputs=("motion",), batch_size=4),
            StageSpec(name="commit", stage=Draw("commit"), num_cpus=0.1, inputs=("render",), batch_size=4),
        )
    )
    _, statistics = finish(pipeline, records(60))
    render = statistics.stages["render"]
    assert render.busy_s > 15 * 0.4
    assert render.busy_fraction >= 0.9
    assert statistics.stages["commit"].busy_fraction < 0.5


@pytest.mark.slow
def test_a_payload_that_does_not_pickle_is_the_record_s_failure():
    class Unpicklable(Stage):
        def run(self, batch):
            return [Ok(threading.Lock() if item.record.seed == 3 else 1) for item in batch]

    finished, _ = finish(single_stage(Unpicklable(), batch_size=4), records(12))
    assert {name for name, record in finished.items() if record.status is Status.QUARANTINED} == {"r3"}


@pytest.mark.slow
def test_a_worker_that_dies_idle_is_replaced_before_it_is_needed(tmp_path):
    lost, killed, seen = [], [], tmp_path / "seen"

    executor = RayExecutor()

    def on_event(event):
        if event.kind is EventKind.WORKER_LOST:
            lost.append((event.stage, event.data["records"]))
            seen.touch()  # ends the first stage
        if event.kind is EventKind.WORKER_READY and event.stage == "idle" and not killed:
            killed.append(ray.kill(executor._actors[event.data["worker"]]))

    pipeline = Pipeline(
        (
            StageSpec(name="slow", stage=Slow(seen), num_cpus=0.1, batch_size=4),
            StageSpec(name="idle", stage=Slow(seen), inputs=("slow",), num_cpus=0.1),
        )
    )
    finished, _ = finish(pipeline, records(4), executor, on_event=on_event)
    assert lost == [("idle", [])]
    assert all(record.attempts == 1 for record in finished.values())


@pytest.mark.parametrize("executor", [LocalExecutor, pytest.param(RayExecutor, marks=pytest.mark.slow)])
def test_progress_inside_a_running_batch_is_reported(executor, tmp_path):
    inside = []

    def on_event(event):
        if event.kind is EventKind.PROGRESS and (stage := event.data["stages"]["only"])["partial_units"]:
            inside.append((stage["partial_records"], stage["partial_units"], stage["records"]))
            if inside[0] < inside[-1]:
                (tmp_path / "seen").touch()

    pipeline = single_stage(Slow(tmp_path / "seen"), batch_size=2)
    _, statistics = finish(pipeline, records(2), executor(), on_event=on_event)
    assert inside[0] < inside[-1]
    assert all(0 < n_records < 2 and units == 1000 * n_records and done == 0 for n_records, units, done in inside)
    assert statistics.stages["only"].partial_records == 0
    assert statistics.stages["only"].units == 2000


@pytest.mark.slow
@pytest.mark.parametrize("exception", [True, False])
def test_setup_that_fails_everywhere_stops_the_run_with_one_sentence(exception, monkeypatch):
    monkeypatch.setattr(pools, "_SETUP_CRASHES", 3)

    class Dies(BrokenSetup):
        def setup(self):
            os._exit(1)

    start = time.monotonic()
    with pytest.raises(RunStopped, match="stage only: setup failed 3 times in a row") as stopped:
        finish(single_stage(BrokenSetup() if exception else Dies(), workers=2), records(4))
    assert time.monotonic() - start < 90  # instead of the half hour that a stage may be without a worker
    assert "\n" not in str(stopped.value)


@pytest.mark.slow
def test_workers_that_are_killed_while_they_set_up_are_replaced_with_more_patience(tmp_path):
    class KilledFiveTimes(Draw):
        def setup(self):
            if note(tmp_path / "setup", "started") <= 5:
                os.kill(os.getpid(), signal.SIGKILL)

    finished, statistics = finish(single_stage(KilledFiveTimes("only")), records(4))
    assert all(record.status is Status.OK for record in finished.values())
    assert statistics.stages["only"].worker_crashes == 5


@pytest.mark.slow
def test_a_stage_that_cannot_be_unpickled_by_the_workers_stops_the_run(monkeypatch):
    class Elsewhere(Draw):
        def __reduce__(self):
            return __import__, ("no_such_package",)

    with pytest.raises(RunStopped, match=r"setup failed 3 times in a row.*no_such_package"):
        finish(single_stage(Elsewhere("only")), records(4))


def test_workers_that_cannot_be_scheduled_stop_the_run_and_the_error_states_their_resources():
    pipeline = Pipeline((StageSpec(name="render", stage=Draw("render"), num_gpus=1),))
    config = EngineConfig(start_limit_s=1)
    with pytest.raises(RunStopped, match=r"stage render: none of 1 workers was ready within 1 s.*1 GPU"):
        finish(pipeline, records(4), config=config)


@pytest.mark.slow
def test_a_ray_that_was_already_running_stays_without_the_actors():
    finish(diamond(), records(3))
    assert ray.is_initialized()
    deadline = time.monotonic() + 20
    while ray.available_resources().get("CPU") != 4:
        assert time.monotonic() < deadline, "actors hold their CPUs"
        ray.wait([ray.put(0)], timeout=0.1)


class CountThreads(Stage):
    """Return the cores that a worker reserves, and the numbers of threads that networks and OpenCV use in it."""

    def run(self, batch):
        cores = ray.get_runtime_context().get_assigned_resources()["CPU"]
        threads = {"networks": int(os.environ["OMP_NUM_THREADS"]), "opencv": cv2.getNumThreads()}
        return [Ok(facts={"cores": int(cores), **threads}) for _ in batch]


def test_a_worker_of_several_cores_reserves_all_of_them():  # Ray gives networks a thread per whole core
    pipeline = Pipeline((StageSpec(name="only", stage=CountThreads(), num_cpus=3.0),))
    finished, _ = finish(pipeline, records(1))
    facts = finished["r0"].facts["only"]
    assert facts["cores"] == 3
    assert facts["opencv"] == facts["networks"]


SCRIPT = """
import sys
from pipelines.engine.loop import run_pipeline
from pipelines.engine.interrupts import RunInterrupted
from pipelines.engine.executors import find_executor
from pipelines.engine.executors.base import ExecutorConfig
from tests.pipelines.engine.toy_stages import Draw, diamond, records
import ray
executor = find_executor("ray")(ExecutorConfig(num_cpus=2, object_store_bytes=100 << 20))
seconds = float(sys.argv[1])
def on_finished(record):
    print("finished", flush=True)
try:
    pipeline = diamond(lambda: Draw("slow", seconds=seconds))
    run_pipeline(pipeline, records(200 if seconds else 5), on_finished, executor=executor)
    print("whole")
except RunInterrupted as error:
    print("interrupted", error.code)
print("ray", ray.is_initialized())
"""


def start_script(seconds):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, "-c", SCRIPT, str(seconds)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_ray_is_started_if_necessary_and_shut_down_with_the_run():
    output, errors = start_script(0.0).communicate(timeout=300)
    assert output.splitlines() == ["finished"] * 5 + ["whole", "ray False"], errors


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_actors_and_driver_promptly(number):
    process = start_script(0.5)
    assert process.stdout.readline() == "finished\n"
    start = time.monotonic()
    process.send_signal(number)
    output, errors = process.communicate(timeout=300)
    assert re.search(r"^interrupted interrupted\nray False$", output, re.MULTILINE), output + errors
    assert process.returncode == 0
    assert time.monotonic() - start < 60
