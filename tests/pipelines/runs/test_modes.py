"""Manifests with people and animals, with the `random` models."""

import dataclasses
import os

import cv2
import numpy as np
import pytest
import ray

from manifests.record import Record
from manifests.run.folder import RunFolder
from manifests.run.outcome import Status
from manifests.storage import open_storage
from pipelines.engine.executors.ray import RayExecutor
from pipelines.engine.graph import Pipeline
from pipelines.engine.loop import run_pipeline
from pipelines.runs import generate as runs
from pipelines.runs.generate import build_video_pipeline, generate_videos
from pipelines.runs.resume import resume_run
from stages.base import Ok, Stage
from tests.joyvasa.faces.animals import draw_cat
from tests.media import EXAMPLES, write_tone
from tests.pipelines.runs.small_runs import make_config, read_rows, write_manifest

NETWORKS = ("appearance_feature_extractor", "motion_extractor", "warping_module", "spade_generator")


def make_animal_config(*settings):
    return make_config("animation.models=random", "animation.picture.max_side=480", *settings)


class InstrumentedStage(Stage):
    """Add facts to each result: its process, and the networks that the process has loaded."""

    def __init__(self, stage):
        self.stage = stage
        self.copy_declaration(stage)

    def setup(self):
        self.stage.setup()

    def run(self, batch):
        outcomes = self.stage.run(batch)
        models = getattr(self.stage, "_models", None)
        loaded = ",".join(sorted(models._networks)) if models else ""
        facts = {"process": os.getpid(), "loaded": loaded}
        return [Ok(o.payload, {**o.facts, **facts}) if isinstance(o, Ok) else o for o in outcomes]


def instrument(pipeline):
    return Pipeline(tuple(dataclasses.replace(spec, stage=InstrumentedStage(spec.stage)) for spec in pipeline.stages))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("modes")
    person = cv2.resize(cv2.imread(str(EXAMPLES / "portrait.jpg")), (400, 400))
    both = np.hstack([person, draw_cat()[..., ::-1]])
    cv2.imwrite(str(folder / "face.jpg"), cv2.copyMakeBorder(both, 80, 80, 80, 80, cv2.BORDER_REPLICATE))
    cv2.imwrite(str(folder / "other.jpg"), cv2.imread(str(EXAMPLES / "portrait_2.jpg")))
    write_tone(folder / "short.wav", seconds=0.4)
    return folder


@pytest.fixture(scope="module")
def manifest(inputs):
    """Write a manifest whose pictures suit both modes; in mode `animal` the person in them causes a warning."""
    rows = [
        {"record_id": "person", "image": "face.jpg", "mode": "human"},
        {"record_id": "animal", "image": "face.jpg", "mode": "animal"},
        {"record_id": "another", "image": "other.jpg"},
        {"record_id": "again", "image": "face.jpg", "mode": "animal"},
        {"record_id": "broken", "image": "short.wav", "mode": "animal"},
    ]
    return write_manifest(inputs / "mixed.csv", [{**row, "audio": "short.wav"} for row in rows])


def check_rows(run):
    rows = read_rows(run)
    assert {name: row["status"] for name, row in rows.items() if row["status"] != "ok"} == {"broken": "failed"}
    assert (rows["broken"]["stage"], rows["broken"]["error_code"]) == ("portrait", "image_unreadable")
    for row in rows.values():
        assert {"seconds_portrait", "seconds_render"} <= row.keys()
        assert not any("animal" in column for column in row)
    for name in ("animal", "again"):
        assert rows[name]["warning_codes"] == "mode_mismatch_suspected"
        assert "mode is animal" in rows[name]["warnings"]
        assert rows[name]["n_faces"] == 1
    assert rows["person"]["warning_codes"] is None
    assert rows["person"]["bundle"] == rows["another"]["bundle"] != rows["animal"]["bundle"] == rows["again"]["bundle"]
    assert rows["person"]["sha256"] != rows["animal"]["sha256"]
    return rows


def test_each_row_uses_the_networks_of_its_mode(manifest, tmp_path):
    result = generate_videos(manifest, tmp_path / "run", make_animal_config())
    check_rows(tmp_path / "run")
    stages = result.statistics["stages"]
    assert (stages["portrait"]["records"], stages["portrait"]["shared"]) == (2, 0)
    assert (stages["animal_portrait"]["records"], stages["animal_portrait"]["shared"]) == (1, 1)
    assert (stages["animal_portrait"]["failed"], stages["portrait"]["failed"]) == (1, 0)
    assert (stages["render"]["records"], stages["animal_render"]["records"]) == (2, 2)
    assert (stages["speech"]["records"], stages["speech"]["shared"]) == (1, 4)
    assert RunFolder(open_storage(tmp_path / "run")).read_description().manifest.modes == {"human": 2, "animal": 3}
    assert resume_run(tmp_path / "run", retry=["failed"]).counts.statuses == {"ok": 4, "failed": 1}


def test_animals_alone_need_no_network_for_people(manifest, inputs, tmp_path):
    rows = [{"record_id": "animal", "image": "face.jpg", "audio": "short.wav", "mode": "animal"}]
    result = generate_videos(write_manifest(inputs / "animals.csv", rows), tmp_path / "run", make_animal_config())
    assert result.all_ok
    assert not {"portrait", "render"} & result.statistics["stages"].keys()
    assert RunFolder(open_storage(tmp_path / "run")).read_description().manifest.modes == {"animal": 1}


def row(inputs, number, **more):
    return Record(id=f"r{number}", seed=number, **{"image": str(inputs / "face.jpg"), **more})


@pytest.mark.slow
def test_a_worker_loads_the_networks_of_one_mode_only(inputs):
    whole = instrument(build_video_pipeline(make_animal_config(), "/nowhere", {"human": 2, "animal": 2}))
    first = Pipeline(tuple(spec for spec in whole.stages if spec.output in ("hash_inputs", "portrait")))
    records = [row(inputs, n, mode=mode) for n, mode in enumerate(["human", "animal"] * 2)]
    ray.init(address="local", num_cpus=4, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False)
    try:
        finished = []
        statistics = run_pipeline(first, records, finished.append, executor=RayExecutor())
    finally:
        ray.shutdown()
    assert [record.status for record in finished] == [Status.OK] * 4
    assert {name: stage.records for name, stage in statistics.stages.items()} == {
        "hash_inputs": 1, "portrait": 1, "animal_portrait": 1,
    }  # fmt: skip
    facts = {record.record.mode: record.facts["portrait"] for record in finished}
    assert facts["human"]["loaded"] == ",".join(NETWORKS[:2])
    assert facts["animal"]["loaded"] == ",".join(f"animal_{name}" for name in NETWORKS[:2])
    assert facts["human"]["process"] != facts["animal"]["process"]


@pytest.mark.slow
def test_people_and_animals_use_separate_workers(manifest, tmp_path, monkeypatch):
    pipelines, finished_records = [], []

    def build(*arguments, **options):
        pipelines.append(instrument(build_video_pipeline(*arguments, **options)))
        return pipelines[-1]

    original = runs.build_outcome

    def note(finished, **options):
        finished_records.append(finished)
        return original(finished, **options)

    monkeypatch.setattr(runs, "build_video_pipeline", build)
    monkeypatch.setattr(runs, "build_outcome", note)
    generate_videos(manifest, tmp_path / "run", make_animal_config("executor=ray"))
    check_rows(tmp_path / "run")
    processes = {}
    for finished in finished_records:
        if finished.status is Status.OK:
            prefix = "animal_" if finished.record.mode == "animal" else ""
            for output, facts in finished.facts.items():
                name = f"{prefix}{output}" if output in ("portrait", "render") else output
                processes.setdefault(name, set()).add(facts["process"])
                own = [network for network in facts["loaded"].split(",") if network.removeprefix("animal_") in NETWORKS]
                assert all(network.startswith("animal_") == bool(prefix) for network in own)
                assert bool(own) == (output in ("portrait", "render"))
    assert len(set.union(*processes.values())) == len(pipelines[0].stages)
