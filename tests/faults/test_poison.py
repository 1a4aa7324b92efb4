"""Records that crash their worker are identified and quarantined; all others succeed."""

import pytest
import ray

from manifests.run.outcome import Status
from pipelines.engine.config import EngineConfig
from pipelines.engine.executors.ray import RayExecutor
from pipelines.engine.graph import Pipeline, StageSpec
from pipelines.engine.loop import run_pipeline
from tests.pipelines.engine.toy_stages import Draw, Trouble, read_notes, records

pytestmark = pytest.mark.slow

CODES = {
    "exit": "worker_died",
    "segv": "worker_died",
    "sys_exit": "worker_exited",
    "hang": "time_limit",
    "memory": "out_of_memory",
    "nan": "not_finite",
}


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init(address="local", num_cpus=4, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False)
    yield
    ray.shutdown()


def finish(log, rows, *, workers, batch_size, time_limit_s=3.0):
    options = {"num_cpus": 0.1, "batch_size": batch_size}
    motion = StageSpec(
        name="motion",
        stage=Trouble(log, memory_bytes=300 << 20),
        inputs=("speech",),
        workers=workers,
        time_limit_s=time_limit_s,
        **options,
    )
    pipeline = Pipeline(
        (
            StageSpec(name="speech", stage=Draw("speech"), **options),
            motion,
            StageSpec(name="commit", stage=Draw("commit"), inputs=("motion",), **options),
        )
    )
    config = EngineConfig(verdict_s=1.0)
    finished = []
    statistics = run_pipeline(pipeline, rows, finished.append, executor=RayExecutor(), config=config)
    assert len({record.record.id for record in finished}) == len(finished) == len(rows)
    return {record.record.id: record for record in finished}, statistics


def test_exactly_the_faulty_records_are_quarantined_with_stage_and_reason(tmp_path):
    faults = {5 + 9 * i: fault for i, fault in enumerate(CODES)}
    finished, statistics = finish(tmp_path, records(60, trouble=faults), workers=2, batch_size=8)
    bad = {name: record.rejection for name, record in finished.items() if record.status is not Status.OK}
    assert bad.keys() == {f"r{i}" for i in faults}
    for i, fault in faults.items():
        rejection = bad[f"r{i}"]
        assert (rejection.status, rejection.stage) == (Status.QUARANTINED, "motion")
        assert rejection.code == CODES[fault], rejection
        assert rejection.sentence
    assert all(finished[f"r{i}"].facts["commit"]["value"] >= i for i in range(60) if i not in faults)
    assert statistics.stages["motion"].worker_crashes >= 8
    assert statistics.stages["motion"].lost_s > 2 * 3.0  # the batch that hangs runs at least twice


def test_other_records_of_the_batch_are_not_rejected_and_rerun_few_times(tmp_path):
    finished, _ = finish(tmp_path, records(16, trouble={3: "exit"}), workers=1, batch_size=16)
    assert [name for name, record in finished.items() if record.status is not Status.OK] == ["r3"]
    runs = read_notes(tmp_path / "trouble")
    assert max(runs.count(f"r{i}") for i in range(16) if i != 3) <= 5  # log2(16) halvings and the first run


def test_a_record_whose_worker_was_killed_once_succeeds(tmp_path):
    finished, _ = finish(tmp_path, records(6, trouble={2: "kill_once"}), workers=1, batch_size=1)
    assert all(record.status is Status.OK for record in finished.values())
    assert finished["r2"].attempts == 2
