"""Parts of the benchmark that need no complete run."""

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from joyvasa.bundles import open_bundle
from joyvasa.bundles.requirements import require_models
from joyvasa.errors import ConfigError, EnvironmentFault, OutputError
from joyvasa.options import AnimationConfig
from manifests.record import Record
from pipelines.bench import machine
from pipelines.bench.inputs import make_records, write_seeded_bundle
from pipelines.bench.networks import NetworkCall, _attention_flops, _measure_call
from pipelines.bench.timed_run import REPEAT_MARK, InstrumentedStage, ReplayStage, TimedRun, WorkerLog, run_once
from pipelines.bench.timing import PeakMemory, time_function, time_in_turns
from pipelines.cli.bench import bench_command
from pipelines.engine.executors.local import LocalExecutor
from pipelines.engine.graph import Pipeline, StageSpec
from pipelines.engine.statistics import RunStatistics
from stages.base import Item
from tests.pipelines.bench.stages import Double

CPU = torch.device("cpu")


def timed_run(ready_at, *finished_at):
    return TimedRun(ready_at, finished_at, 10 * len(finished_at), RunStatistics({}), WorkerLog(Path(), 0))


def test_the_steady_rate_excludes_only_the_first_batch():
    run = timed_run(0.0, 10.0, 10.001, 12.0, 12.001, 14.0, 14.001)
    assert run.elapsed_s == 14.001
    assert run.records_per_s == pytest.approx(6 / 14.001)
    assert run.steady_records_per_s == pytest.approx(4 / 4.001)
    assert run.frames_per_record == 10


def test_the_steady_rate_of_a_single_batch_covers_the_whole_time():
    run = timed_run(5.0, 10.0, 10.001)
    assert run.steady_records_per_s == run.records_per_s == pytest.approx(2 / 5.001)


def test_a_failed_record_is_an_error(tmp_path):
    pipeline = Pipeline((StageSpec(name="render", stage=Double(refuse="b")),))
    records = [Record(id=name) for name in "abc"]
    with pytest.raises(EnvironmentFault, match="record b at stage render: number: odd; expected all"):
        run_once(pipeline, records, LocalExecutor(), tmp_path / "log")


def test_workers_write_logs_and_their_recorded_inputs_can_be_replayed(tmp_path):
    first, second = StageSpec(name="first", stage=Double()), StageSpec(name="second", stage=Double(), inputs=("first",))
    records = [Record(id=f"r.{n}", seed=n) for n in range(3)]
    recording = tmp_path / "recording"
    recording.mkdir()
    executor = LocalExecutor()
    run = run_once(Pipeline((first, second)), records, executor, tmp_path / "log", recording=recording)
    assert len(run.finished_at) == 3
    assert run.ready_at <= run.finished_at[0]
    (worker,) = run.log.entries("second")
    assert "setup_s" in worker[0]
    assert [entry["records"] for entry in worker[1:]] == [1, 1, 1]
    assert run.peak_bytes is None or run.peak_bytes > 1 << 20

    replay = ReplayStage(Double(), "second", recording)
    replay.setup()
    (outcome,) = replay.run([Item(Record(id=f"r.2{REPEAT_MARK}7", seed=5))])
    assert outcome.payload == 2 * 5 + 2 * 2


def test_the_first_stage_waits_until_all_workers_are_ready(tmp_path):
    log = WorkerLog(tmp_path, 2)
    stage = InstrumentedStage(Double(), "first", log, first=True)
    stage.setup()
    late = subprocess.Popen(
        [sys.executable, "-c", f"import time; time.sleep(0.3); open({str(tmp_path / 'other.ready')!r}, 'w')"]
    )
    stage.run([Item(Record(id="a"))])
    assert (tmp_path / "other.ready").exists()
    assert log.ready_at() == max(path.stat().st_mtime for path in tmp_path.glob("*.ready"))
    late.wait()


def test_no_two_pictures_or_recordings_are_the_same(tmp_path):
    records = make_records(tmp_path / "media", 9, 0.5)
    for column in ("image", "audio"):
        assert len({hashlib.sha256(Path(getattr(record, column)).read_bytes()).digest() for record in records}) == 9
    assert len({record.seed for record in records}) == 9


def test_the_seeded_bundle_has_the_published_sizes_and_needs_no_file(tmp_path):
    write_seeded_bundle(tmp_path / "sizes")
    bundle, published = open_bundle(tmp_path / "sizes"), open_bundle("joyvasa")
    require_models(AnimationConfig(models=str(tmp_path / "sizes")), bundle)
    assert bundle.synthetic
    for name, role in bundle.spec.roles.items():
        assert role.file is None
        assert (role.network, role.config) == (published.spec.roles[name].network, published.spec.roles[name].config)
    assert bundle.switches.output_size == published.switches.output_size == 512


def test_functions_are_called_in_turns():
    order = []
    times = time_in_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, CPU, rounds=3)
    assert order == ["a", "b"] * 3
    assert all(len(timing.seconds) == len(timing.processor_s) == 3 for timing in times.values())


def test_the_time_limit_counts_per_function():
    order = []
    functions = {"a": lambda: order.append("a"), "b": lambda: order.append(time.sleep(0.02))}
    times = time_in_turns(functions, CPU, for_s=0.03)  # 0.06 s for both
    assert order[:2] == ["a", None]
    assert 1 <= len(times["a"].seconds) == len(times["b"].seconds) <= 4


def test_a_slow_function_is_called_once():
    calls = []
    assert len(time_function(lambda: calls.append(time.sleep(0.01)), CPU, for_s=0.0).seconds) == len(calls) == 1


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is counted on Linux only")
def test_the_memory_of_a_block_is_its_peak():
    with PeakMemory(CPU) as memory:
        np.ones(64 << 20, np.uint8).sum()
    with PeakMemory(CPU) as nothing:
        pass
    assert memory.n_bytes is not None
    assert nothing.n_bytes is not None
    assert memory.n_bytes - nothing.n_bytes == pytest.approx(64 << 20, rel=0.1)


def test_every_processor_computes_in_float32():
    assert machine.precision_unavailable(CPU, "fp32") is None


def test_the_limits_count_their_operations(monkeypatch):
    monkeypatch.setattr(machine, "MATRIX_SIDE", {"cpu": 64})
    monkeypatch.setattr(machine, "CONVOLUTION_CHANNELS", 4)
    matrix, convolution = machine.measure_limits(CPU, "fp32", for_s=0.0)
    assert matrix.flops == 2 * 64**3
    assert convolution.flops == 2 * 4 * 4 * 9 * 128**2
    assert matrix.flops_per_s == matrix.flops / matrix.seconds


def test_attention_is_two_products():
    assert _attention_flops((2, 8, 110, 32), (2, 8, 110, 32), (2, 8, 110, 32)) == 2 * (2 * 2 * 8 * 110 * 110 * 32)


def test_a_network_that_does_not_fit_into_memory_is_skipped_with_the_reason():
    def compute(batch):
        raise torch.OutOfMemoryError(f"out of memory with {batch}")

    figure = _measure_call(
        NetworkCall("large", "frame", compute, (16,)),
        16,
        precision="fp32",
        device=CPU,
        limits=(),
        for_s=0,
        skipped=None,
    )
    assert figure.skipped == "OutOfMemoryError: out of memory with 16"


def test_the_command_rejects_unknown_sections_and_folders(tmp_path):
    with pytest.raises(ConfigError, match="section 'speed' is unknown; expected networks, chain"):
        bench_command(only="chain,speed")
    path = tmp_path / "nowhere/bench.json"
    with pytest.raises(OutputError, match=f"output_unwritable: {path}: .*No such file or directory"):
        bench_command(out=path)
