"""Benchmarks outside of the package run on small inputs."""

import pickle

import pyarrow as pa
import pyarrow.parquet
import pytest
import torch

from joyvasa.networks import build
from manifests.record import Record
from pipelines.runs.config import RunConfig
from stages.base import Item
from tests.bench.before_after import ROOT, compare_checkouts
from tests.bench.peak_memory import FEW_STEPS, measure_memory
from tests.bench.ray_data_job import FaultyStage, Job, StageCall, write_rows
from tests.bench.sampler_study import few_step_distance, markdown_table
from tests.bench.start import measure_start
from tests.joyvasa.small_generator import SMALL
from tests.media import EXAMPLES
from tests.pipelines.bench.stages import Double


def test_a_stage_runs_as_a_callable_of_ray_data(tmp_path):
    records = [Record(id=name, seed=n) for n, name in enumerate("abc")]
    job = Job(config=RunConfig(), records=records, folder=tmp_path / "job")
    write_rows(job, 2)
    files = sorted((job.folder / "rows").iterdir())
    tables = [pa.parquet.read_table(file) for file in files]
    assert [table.num_rows for table in tables] == [2, 1]
    table = StageCall(Double(), "first", (), None)(tables[0])
    table = StageCall(Double(), "second", ("first",), job.finished)(table)
    assert [pickle.loads(value) for value in table.column("second").to_pylist()] == [0, 2 * 1 + 2]
    assert [line.split()[0] for line in job.finished.read_text().splitlines()] == ["a", "b"]
    with pytest.raises(RuntimeError, match="b: refused: number: odd"):
        StageCall(Double(refuse="b"), "first", (), None)(tables[0])


def test_the_faulty_record_fails_its_batch_and_no_other():
    stage = FaultyStage(Double(), "raises", "b")
    assert stage.run([Item(Record(id="a", seed=1))])[0].payload == 2
    with pytest.raises(RuntimeError, match="b: injected fault"):
        stage.run([Item(Record(id="a")), Item(Record(id="b"))])


@pytest.mark.slow
def test_help_starts_quickly():
    starts = {figure.program: figure for figure in measure_start(1)}
    assert "joyvasa --help" in starts
    assert all(0 < figure.processor_s for figure in starts.values())


@pytest.mark.slow
def test_the_sampler_study_is_zero_for_the_full_number_of_steps():
    torch.manual_seed(0)
    network = build("motion_generator", **SMALL)
    distances = few_step_distance(network, torch.zeros(1, 12_800), steps=(2, 6))
    assert distances.few_steps[6] == 0
    assert distances.few_steps[2] > 0
    assert distances.seeds > 0
    assert markdown_table(distances, 6).count("\n") == 5


@pytest.mark.slow
def test_two_checkouts_are_compared_in_turns():
    sound = EXAMPLES / "speech.flac"
    other, this, difference = compare_checkouts(
        ROOT,
        EXAMPLES / "portrait.jpg",
        sound,
        threads=1,
        rounds=1,
        settings=["sampling.sampler=ddim", "sampling.steps=2"],
    )
    assert min(other.frames_per_s, this.frames_per_s, other.processor_ms, this.processor_ms) > 0
    assert difference.largest == 0
    assert difference.psnr_db == float("inf")


@pytest.mark.slow
def test_memory_of_a_video_is_measured_in_a_process_of_its_own():
    figure = measure_memory("sample", EXAMPLES / "portrait.jpg", EXAMPLES / "speech.flac", *FEW_STEPS, "batch_frames=3")
    assert figure.batch_frames == 3
    assert figure.peak_bytes > 100 << 20
    assert figure.n_frames > 100
