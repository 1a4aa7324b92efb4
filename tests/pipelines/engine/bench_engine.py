"""Overhead of the engine; run by `make bench`, never by `make test`."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import ray

from pipelines.bench.engine import measure_executor
from pipelines.engine.config import EngineConfig
from pipelines.engine.executors.ray import RayExecutor
from pipelines.engine.graph import Pipeline, StageSpec
from pipelines.engine.loop import run_pipeline
from stages.base import Ok, Stage
from tests.pipelines.engine.toy_stages import Draw, number_rows

pytestmark = pytest.mark.bench
ROOT = Path(__file__).parents[3]


@pytest.fixture
def cluster():
    ray.init(address="local", num_cpus=4, include_dashboard=False, object_store_memory=1 << 30, log_to_driver=False)
    yield
    ray.shutdown()


def measure_rate(pipeline, n, executor, config=None):
    """Return the records per second, without the start of the workers, and the statistics."""
    times, finished = [], 0

    def on_finished(_record):
        nonlocal finished
        finished += 1
        times.append(time.perf_counter())

    statistics = run_pipeline(pipeline, number_rows(n), on_finished, executor=executor, config=config)
    assert finished == n
    return (n - 1) / (times[-1] - times[0]), statistics


@pytest.mark.parametrize("name", ["local", "ray"])
def test_ten_thousand_records_pass_empty_stages(cluster, name):
    figure = measure_executor(name, 10_000)
    print(f"\n{name}: {figure.records_per_s:.0f} records/s (five stages, batches of 16)")
    assert figure.records_per_s >= 500


class Produce(Stage):
    """Return arrays of a given size."""

    def __init__(self, n_bytes):
        self.n_bytes = n_bytes

    def run(self, batch):
        return [Ok(np.zeros(self.n_bytes, np.uint8), {"bytes": self.n_bytes}) for _ in batch]


class Consume(Stage):
    """Check the arrays."""

    def run(self, batch):
        assert all(item.inputs["portrait"][0] == 0 for item in batch)
        return [Ok() for _ in batch]


@pytest.mark.parametrize("n_bytes", [1 << 10, 70 << 10, 8 << 20])
def test_payloads_of_several_sizes(cluster, n_bytes):
    pipeline = Pipeline(
        (
            StageSpec(name="portrait", stage=Produce(n_bytes), batch_size=16, num_cpus=0.1),
            StageSpec(name="render", stage=Consume(), inputs=("portrait",), batch_size=16, num_cpus=0.1),
        )
    )
    n = 500 if n_bytes > 1 << 20 else 4000
    per_s, _ = measure_rate(pipeline, n, RayExecutor(), EngineConfig(max_bytes=512 << 20))
    print(f"\npayloads of {n_bytes >> 10} KiB: {per_s:.0f} records/s, {per_s * n_bytes / 1e6:.0f} MB/s")


def test_a_slow_stage_is_kept_busy(cluster):
    stages = (
        StageSpec(name="motion", stage=Draw("motion"), batch_size=8, num_cpus=0.1),
        StageSpec(name="render", stage=Draw("render", seconds=0.1), inputs=("motion",), batch_size=4, num_cpus=0.1),
    )
    _, statistics = measure_rate(Pipeline(stages), 1000, RayExecutor())
    print(f"\nslow stage busy {statistics.stages['render'].busy_fraction:.1%} of the time while records wait")
    assert statistics.stages["render"].busy_fraction >= 0.9


MEMORY = """
import sys
from pathlib import Path
from pipelines.engine.loop import run_pipeline
from pipelines.engine.executors import find_executor
from tests.pipelines.engine.toy_stages import number_rows
from tests.pipelines.engine.toy_stages import Nothing, diamond

def status(name):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024

count = 0
def on_finished(_record):
    global count
    count += 1
executor = find_executor(sys.argv[1])()
run_pipeline(diamond(Nothing, batch_size=16), number_rows(int(sys.argv[2])), on_finished, executor=executor)
print(count, status("VmHWM"))
"""


@pytest.mark.parametrize("name", ["local", "ray"])
def test_driver_memory_does_not_grow_with_the_manifest(name):
    def peak_mb(n):
        command = [sys.executable, "-c", MEMORY, name, str(n)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        output = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
        count, peak = output.split()[-2:]
        assert int(count) == n
        return float(peak)

    few, many = peak_mb(1000), peak_mb(100_000)
    print(f"\n{name}: driver peak {few:.0f} MB for 1,000 records, {many:.0f} MB for 100,000: {many - few:+.1f} MB")
    assert many - few < 50
