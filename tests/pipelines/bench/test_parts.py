"""The parts of a bench that need no whole run."""

import hashlib
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from joyvasa.bundles import open_bundle
from joyvasa.errors import ConfigError, EnvironmentFault, OutputError
from joyvasa.models import AnimationConfig, require_models
from manifests.record import Record
from pipelines.bench import machine
from pipelines.bench.clock import PeakMemory, interleaved, repeated, repeated_in_turns
from pipelines.bench.inputs import make_records
from pipelines.bench.networks import _attention_flops
from pipelines.bench.observed import AGAIN, FedStage, Watch, WatchedStage
from pipelines.bench.passage import Passage, pass_through
from pipelines.bench.seeded import write_seeded_bundle
from pipelines.cli.bench import bench
from pipelines.engine import executors
from pipelines.engine.graph import Pipeline, StageSpec
from pipelines.engine.statistics import RunStatistics
from stages.base import Item
from tests.pipelines.bench.stages import Double

CPU = torch.device("cpu")


def passage(ready_at, *finished_at):
    return Passage(ready_at, finished_at, 10 * len(finished_at), RunStatistics({}), Watch(Path(), 0))


def test_the_steady_rate_leaves_out_the_first_batch_alone():
    seen = passage(0.0, 10.0, 10.001, 12.0, 12.001, 14.0, 14.001)
    assert seen.elapsed_s == 14.001
    assert seen.records_per_s == pytest.approx(6 / 14.001)
    assert seen.steady_records_per_s == pytest.approx(4 / 4.001)
    assert seen.frames_per_record == 10


def test_the_rate_of_a_single_batch_is_that_of_the_whole_time():
    seen = passage(5.0, 10.0, 10.001)
    assert seen.steady_records_per_s == seen.records_per_s == pytest.approx(2 / 5.001)


def test_a_record_that_fails_makes_the_rate_worthless(tmp_path):
    pipeline = Pipeline((StageSpec(name="render", stage=Double(refuse="b")),))
    records = [Record(id=name) for name in "abc"]
    with pytest.raises(EnvironmentFault, match="record b at stage render: number: odd; expected all"):
        pass_through(pipeline, records, executors.make("local"), tmp_path / "notes")


def test_workers_are_watched_and_can_be_fed_with_what_they_got(tmp_path):
    first, second = StageSpec(name="first", stage=Double()), StageSpec(name="second", stage=Double(), inputs=("first",))
    records = [Record(id=f"r.{n}", seed=n) for n in range(3)]
    kept = tmp_path / "kept"
    kept.mkdir()
    seen = pass_through(Pipeline((first, second)), records, executors.make("local"), tmp_path / "notes", keep=kept)
    assert len(seen.finished_at) == 3
    assert seen.ready_at <= seen.finished_at[0]
    (worker,) = seen.watch.entries("second")
    assert "setup_s" in worker[0]
    assert [entry["records"] for entry in worker[1:]] == [1, 1, 1]
    assert seen.peak_bytes is None or seen.peak_bytes > 1 << 20
    fed = FedStage(Double(), "second", kept)
    fed.setup()
    (outcome,) = fed.run([Item(Record(id=f"r.2{AGAIN}7", seed=5))])
    assert outcome.payload == 2 * 5 + 2 * 2


def test_the_first_stage_waits_until_all_workers_are_ready(tmp_path):
    watch = Watch(tmp_path, 2)
    stage = WatchedStage(Double(), "first", watch, first=True)
    stage.setup()
    late = subprocess.Popen(
        [sys.executable, "-c", f"import time; time.sleep(0.3); open({str(tmp_path / 'other.ready')!r}, 'w')"]
    )
    stage.run([Item(Record(id="a"))])
    assert (tmp_path / "other.ready").exists()
    assert watch.ready_at() == max(path.stat().st_mtime for path in tmp_path.glob("*.ready"))
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


def test_calls_are_timed_in_turns():
    order = []
    times = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, CPU, rounds=3)
    assert order == ["a", "b"] * 3
    assert all(len(timing.seconds) == len(timing.processor_s) == 3 for timing in times.values())


def test_turns_are_repeated_for_the_time_of_all_functions():
    order = []
    ways = {"a": lambda: order.append("a"), "b": lambda: order.append(time.sleep(0.02))}
    times = repeated_in_turns(ways, CPU, for_s=0.03)  # 0.06 s for both
    assert order[:2] == ["a", None]
    assert 1 <= len(times["a"].seconds) == len(times["b"].seconds) <= 4


def test_a_slow_call_is_made_once_only():
    calls = []
    assert len(repeated(lambda: calls.append(time.sleep(0.01)), CPU, for_s=0.0).seconds) == len(calls) == 1


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is counted on Linux only")
def test_memory_of_a_block_is_what_it_took_at_most():
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


def test_the_command_refuses_what_it_does_not_know(tmp_path):
    with pytest.raises(ConfigError, match="section 'speed' is unknown; expected networks, chain"):
        bench(only="chain,speed")
    place = tmp_path / "nowhere/bench.json"
    with pytest.raises(OutputError, match=f"{place}: its folder does not exist"):
        bench(out=place)
