"""A new stage needs one file and one line: options, columns, resources and rates follow from its declaration."""

import dataclasses
import importlib
import sys
import textwrap

import pytest

from joyvasa.errors import ConfigError
from joyvasa.runtime.result_tables import find_finished_tables, read_schema
from manifests.run.folder import RunFolder
from manifests.storage import open_storage
from pipelines.runs import generate as runs
from pipelines.runs.generate import build_video_pipeline, generate_videos
from pipelines.runs.rates import read_run_rates
from pipelines.runs.resources import SpecBuilder
from tests.media import DATA, write_tone
from tests.pipelines.runs.small_runs import make_config, read_rows, write_manifest

STAGE = """
    from stages.base import Ok, Resources, Stage


    class LoudnessStage(Stage):
        name = "loudness"
        resources = Resources(cpu=0.2)
        batch_size = 5
        unit = "frame"
        columns = {"loudness_db": float, "voices": int, "verdict": str, "n_faces": int}

        def run(self, batch):
            return [
                Ok(facts={"loudness_db": -20.5, "voices": len(item.record.id), "verdict": None, "frames": 10})
                for item in batch
            ]
"""


@pytest.fixture
def loudness_stage(tmp_path, monkeypatch):
    """Return the stage class, in a module that workers can import."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "loudness.py").write_text(textwrap.dedent(STAGE))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.syspath_prepend(str(folder))
    yield importlib.import_module("loudness").LoudnessStage
    del sys.modules["loudness"]


@pytest.fixture
def with_loudness(loudness_stage, monkeypatch):
    """Replace the video pipeline by one with the new stage."""

    def build(config, run, modes, *, gpus, **rest):
        pipeline = build_video_pipeline(dataclasses.replace(config, stages={}), run, modes, gpus=gpus, **rest)
        builder = SpecBuilder(config, run, modes, gpus)
        return builder.join((*pipeline.stages, builder.build(loudness_stage(), after=("speech",))))

    monkeypatch.setattr(runs, "build_video_pipeline", build)
    return build


@pytest.fixture
def manifest(tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    sound = write_tone(tmp_path / "s.wav", seconds=0.4)
    pictures = {"good": DATA / "portrait.jpg", "bad": tmp_path / "broken.jpg"}
    rows = [{"record_id": name, "image": str(picture), "audio": str(sound)} for name, picture in pictures.items()]
    return write_manifest(tmp_path / "m.csv", rows)


@pytest.mark.parametrize("executor", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_a_new_stage_runs_and_its_facts_become_columns(with_loudness, manifest, tmp_path, executor):
    config = make_config(f"executor={executor}", "stages.loudness.batch_size=1")
    result = generate_videos(manifest, tmp_path / "run", config)
    assert result.counts.statuses == {"ok": 1, "failed": 1}
    numbers = result.statistics["stages"]["loudness"]
    assert (numbers["batch_size"], numbers["unit"]) == (1, "frame")
    rows = read_rows(tmp_path / "run")
    assert (rows["good"]["loudness_db"], rows["good"]["voices"], rows["good"]["verdict"]) == (-20.5, 4, None)
    assert rows["good"]["n_faces"] == 1, "the value of the first stage counts"
    assert rows["good"]["seconds_loudness"] >= 0
    assert rows["bad"]["loudness_db"] in (-20.5, None)
    schema = read_schema(find_finished_tables(tmp_path / "run"))
    types = {name: str(schema.field(name).type) for name in ("loudness_db", "voices", "verdict")}
    assert types == {"loudness_db": "double", "voices": "int64", "verdict": "string"}
    assert read_run_rates(str(tmp_path / "run")).stages["loudness"].per == "frame"


def test_facts_of_a_new_stage_survive_a_retry_of_other_records(with_loudness, manifest, tmp_path):
    generate_videos(manifest, tmp_path / "run", make_config())
    folder = RunFolder(open_storage(tmp_path / "run"))
    assert folder.reopen_shard(0, ["failed"]) == 1
    assert folder.read_saved_outcomes(0)["good"].facts == {"loudness_db": -20.5, "voices": 4}


def test_a_new_stage_declares_its_size_and_options_are_checked(with_loudness):
    spec = with_loudness(make_config(), "/run", {"human": 99}, gpus=2).by_name["loudness"]
    assert (spec.batch_size, spec.num_cpus, spec.workers, spec.num_gpus) == (5, 0.2, 1, 0.0)
    with pytest.raises(ConfigError, match=r"no option stages\.loudnes; did you mean stages\.loudness"):
        with_loudness(
            make_config("stages.loudness.workers=2", "stages.loudnes.workers=2"), "/run", {"human": 99}, gpus=0
        )
    with pytest.raises(
        ConfigError, match=r"no option stages\.loudness\.worker; did you mean stages\.loudness\.workers"
    ):
        make_config("stages.loudness.worker=2")
