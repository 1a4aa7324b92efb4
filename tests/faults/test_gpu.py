"""Records that break the GPU context of their process are quarantined; all others succeed."""

import pytest
import ray
import torch

from manifests.run.outcome import Status
from pipelines.engine.config import EngineConfig
from pipelines.engine.executors.local import LocalExecutor
from pipelines.engine.executors.ray import RayExecutor
from pipelines.engine.graph import Pipeline, StageSpec
from pipelines.engine.interrupts import RunStopped
from pipelines.engine.loop import run_pipeline
from stages.base import Item, Ok, Outcome, Stage
from tests.pipelines.engine.toy_stages import Draw, Gpu, read_notes, records

pytestmark = pytest.mark.slow

CONFIG = EngineConfig(verdict_s=1.0)
FAULTS = ("assert", "wrapped", "outcome")


@pytest.fixture(scope="module", autouse=True)
def cluster():
    ray.init(address="local", num_cpus=4, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False)
    yield
    ray.shutdown()


def pipeline(stage: Stage, **options) -> Pipeline:
    return Pipeline(
        (
            StageSpec(name="motion", stage=stage, num_cpus=0.1, **options),
            StageSpec(name="render", stage=Draw("render"), num_cpus=0.1, inputs=("motion",), batch_size=4),
        )
    )


def finish(stage: Stage, rows, executor, **options):
    finished = {}
    statistics = run_pipeline(
        pipeline(stage, **options), rows, lambda r: finished.update({r.record.id: r}), executor=executor, config=CONFIG
    )
    return finished, statistics


def test_the_process_is_replaced_and_a_record_that_fails_again_alone_is_quarantined(tmp_path):
    faults = {2 + 4 * i: fault for i, fault in enumerate(FAULTS)}
    rows = records(16, trouble={**faults, 15: "once"})
    finished, statistics = finish(Gpu(tmp_path), rows, RayExecutor(), batch_size=2, workers=2)
    bad = {name: record.rejection for name, record in finished.items() if record.status is not Status.OK}
    assert bad.keys() == {f"r{i}" for i in faults}
    for rejection in bad.values():
        assert (rejection.status, rejection.stage, rejection.code) == (Status.QUARANTINED, "motion", "gpu_failed")
        assert "broke the GPU context" in rejection.sentence
        assert "CUDA error" in rejection.sentence
    assert len(finished) == 16
    assert finished["r15"].attempts > 1
    processes = [read_notes(path) for path in tmp_path.glob("broken-*")]
    failed = [lines for lines in processes if "failed" in lines]
    assert statistics.stages["motion"].worker_crashes == len(failed) >= 2 * len(FAULTS)
    assert not [lines for lines in failed if "again" in lines], "a broken process was given another batch"


def test_with_the_local_executor_the_run_stops(tmp_path):
    with pytest.raises(RunStopped, match=r"gpu_failed: .*device-side assert.*resume") as error:
        finish(Gpu(tmp_path), records(20, trouble={7: "assert"}), LocalExecutor(), batch_size=4)
    assert "\n" not in str(error.value)


class OutOfBounds(Stage):
    """Indexes a table on the GPU out of bounds."""

    def run(self, batch: list[Item]) -> list[Outcome]:
        table = torch.zeros(4, device="cuda")
        indices = [100 if item.record.motion else 0 for item in batch]
        values = table[torch.tensor(indices, device="cuda")].cpu()
        return [Ok(float(value)) for value in values]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_real_device_side_assertion_fails_only_its_record():
    rows = records(20, trouble={7: "x"})
    finished, _ = finish(OutOfBounds(), rows, RayExecutor(), batch_size=4, num_gpus=1)  # without a share it sees none
    assert [name for name, record in finished.items() if record.status is not Status.OK] == ["r7"]
    assert finished["r7"].rejection.code == "gpu_failed"
