"""Runs over small manifests with the built-in model and the local executor."""

import csv
import hashlib
import json
import re
import shutil
import tarfile
from pathlib import Path

import cv2
import fsspec
import numpy as np
import pytest
from typer.testing import CliRunner

from joyvasa.errors import ConfigError, InputError, ModelError
from manifests.problems import ManifestError
from manifests.record import derive_seed
from manifests.run.events import read_events
from manifests.run.folder import RunFolder
from manifests.run.lock import LocalLock
from manifests.storage import open_storage
from pipelines.cli.main import app
from pipelines.engine import loop
from pipelines.engine.config import EngineConfig
from pipelines.engine.events import EventKind
from pipelines.engine.interrupts import RunInterrupted, RunStopped
from pipelines.runs import resume
from pipelines.runs.export.config import ExportConfig
from pipelines.runs.export.export import export_dataset
from pipelines.runs.generate import generate_videos
from pipelines.runs.resume import resume_run
from pipelines.runs.shard_writer import ShardWriter
from tests.media import DATA, EXAMPLES, read_frames, write_tone
from tests.pipelines.runs.small_runs import interrupted_after, make_config, read_motions, read_rows, write_manifest


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    for name, source in (("a.jpg", EXAMPLES / "portrait.jpg"), ("b.jpg", DATA / "portrait.jpg")):
        picture = cv2.imread(str(source))
        cv2.imwrite(str(folder / name), cv2.resize(picture, (256, 256 * picture.shape[0] // picture.shape[1])))
    write_tone(folder / "short.wav", seconds=0.24)
    write_tone(folder / "other.wav", seconds=0.36)
    write_tone(folder / "long.wav", seconds=4.4)  # more than a window
    return folder


@pytest.fixture(scope="module")
def manifest(inputs) -> Path:
    pairs = [("a", "short"), ("b", "short"), ("a", "other"), ("b", "other"), ("a", "short")]
    rows = [
        {"record_id": f"r{i}", "image": f"{image}.jpg", "audio": f"{sound}.wav", "note": f"n{i}"}
        for i, (image, sound) in enumerate(pairs)
    ]
    return write_manifest(inputs / "pairs.csv", rows)


@pytest.fixture(scope="module")
def finished(manifest, tmp_path_factory) -> Path:
    """Return a run that was not interrupted."""
    run = tmp_path_factory.mktemp("run") / "run"
    assert generate_videos(manifest, run, make_config("save_motion=true")).all_ok
    return run


def test_every_row_has_its_outcome_and_its_video(finished):
    rows = read_rows(finished)
    assert list(rows) == ["r0", "r1", "r2", "r3", "r4"]
    for name, row in rows.items():
        video = finished / row["video"]
        assert row["status"] == "ok"
        assert hashlib.sha256(video.read_bytes()).hexdigest() == row["sha256"]
        assert len(read_frames(video)) == row["frames"] == (9 if name in ("r2", "r3") else 6)
        assert row["note"] == f"n{name[1]}"
        assert row["bundle"].startswith("sample ")
        assert row["licenses"] == ["Apache-2.0", "MIT"]
    assert len({row["seed"] for row in rows.values()}) == 5


def test_the_run_folder_describes_the_run(finished):
    description = RunFolder(open_storage(finished)).read_description()
    assert description.configuration["animation"]["models"] == "sample"
    assert description.manifest.records == 5
    kinds = [event["event"] for event in read_events(open_storage(finished))]
    assert kinds[0] == EventKind.RUN_STARTED
    assert kinds[-1] == EventKind.RUN_ENDED


def test_portraits_and_recordings_are_computed_once(manifest, tmp_path):
    stages = generate_videos(manifest, tmp_path / "run", make_config()).statistics["stages"]
    assert (stages["portrait"]["records"], stages["portrait"]["shared"]) == (2, 3)
    assert (stages["speech"]["records"], stages["speech"]["shared"]) == (2, 3)
    assert stages["motion"]["records"] == stages["render"]["records"] == 5


def test_files_with_equal_content_are_computed_once(inputs, tmp_path):
    (inputs / "twin.jpg").write_bytes((inputs / "a.jpg").read_bytes())
    (inputs / "twin.wav").write_bytes((inputs / "short.wav").read_bytes())
    pairs = [("a", "short"), ("twin", "short"), ("a", "twin"), ("b", "twin")]
    rows = [{"record_id": f"r{n}", "image": f"{a}.jpg", "audio": f"{b}.wav"} for n, (a, b) in enumerate(pairs)]
    result = generate_videos(write_manifest(inputs / "twins.csv", rows), tmp_path / "run", make_config())
    assert result.all_ok
    stages = result.statistics["stages"]
    assert (stages["portrait"]["records"], stages["portrait"]["shared"]) == (2, 2)
    assert (stages["speech"]["records"], stages["speech"]["shared"]) == (1, 3)
    for n, row in enumerate(read_rows(tmp_path / "run").values()):
        image, audio = (inputs / rows[n][column] for column in ("image", "audio"))
        assert row["image_sha256"] == hashlib.sha256(image.read_bytes()).hexdigest()
        assert row["audio_sha256"] == hashlib.sha256(audio.read_bytes()).hexdigest()
        assert row["motion_sha256"] is None


@pytest.mark.parametrize("batch", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_batch_sizes_change_motion_by_rounding_at_most(manifest, finished, tmp_path, batch):
    sizes = [f"stages.{stage}.batch_size={batch}" for stage in ("portrait", "speech", "motion", "render")]
    generate_videos(manifest, tmp_path / "run", make_config("save_motion=true", *sizes))
    expected = read_motions(finished)
    for name, motion in read_motions(tmp_path / "run").items():
        assert np.abs(motion - expected[name]).max() <= 1e-4


@pytest.mark.slow
def test_strict_runs_give_the_same_bytes_in_any_order(manifest, inputs, tmp_path):
    rows = list(csv.DictReader(manifest.open()))
    backwards = write_manifest(inputs / "backwards.csv", rows[::-1])
    strict = ("determinism=strict", "save_motion=true")
    generate_videos(manifest, tmp_path / "one", make_config(*strict))
    generate_videos(backwards, tmp_path / "two", make_config(*strict, "shard_size=2", "stages.render.batch_size=1"))
    forward, reverse = (
        {name: row["sha256"] for name, row in read_rows(tmp_path / run).items()} for run in ("one", "two")
    )
    assert forward == reverse


def test_a_bad_record_fails_alone_and_can_be_retried(inputs, tmp_path):
    rows = [
        {"record_id": "good", "image": "a.jpg", "audio": "short.wav"},
        {"record_id": "no-picture", "image": "later.jpg", "audio": "short.wav"},
        {"record_id": "no-sound", "image": "a.jpg", "audio": "none.wav"},
    ]
    path = write_manifest(inputs / "bad.csv", rows)
    result = generate_videos(path, tmp_path / "run", make_config())
    assert not result.all_ok
    assert result.counts.statuses == {"ok": 1, "failed": 2}
    outcomes = read_rows(tmp_path / "run")
    assert outcomes["no-picture"]["error_code"] == "image_missing"
    assert (outcomes["no-picture"]["stage"], outcomes["no-picture"]["seed"]) == ("hash_inputs", None)
    assert outcomes["no-sound"]["error_code"] == "audio_missing"
    before = (tmp_path / "run" / outcomes["good"]["video"]).stat().st_mtime_ns
    (inputs / "later.jpg").write_bytes((inputs / "a.jpg").read_bytes())
    assert resume_run(tmp_path / "run", retry=["failed"]).counts.statuses == {"ok": 2, "failed": 1}
    assert (tmp_path / "run" / outcomes["good"]["video"]).stat().st_mtime_ns == before


def test_an_interrupted_run_is_resumed_and_loses_nothing(manifest, finished, tmp_path):
    run = tmp_path / "run"
    with interrupted_after(2) as outcomes:
        generate_videos(manifest, run, make_config("save_motion=true", "stages.render.batch_size=1"))
    counts = RunFolder(open_storage(run)).count_records(RunFolder(open_storage(run)).read_manifest())
    assert counts.statuses == {"ok": 2}
    written = {run / outcome.video: (run / outcome.video).stat().st_mtime_ns for outcome in outcomes}
    assert resume_run(run).all_ok
    assert all(path.stat().st_mtime_ns == changed for path, changed in written.items())
    expected = read_motions(finished)
    for name, motion in read_motions(run).items():
        assert np.abs(motion - expected[name]).max() <= 1e-4


def test_a_finished_run_is_not_changed_by_a_resume(finished):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("shards/**/*") if path.is_file()}
    assert resume_run(finished).all_ok
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("shards/**/*") if path.is_file()} == before


def test_a_finished_run_is_resumed_without_starting_a_worker(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "run_pipeline", lambda *_, **__: pytest.fail("the engine was started"))
    monkeypatch.setattr(resume.GenerateRun, "build_pipeline", lambda *_, **__: pytest.fail("a pipeline was built"))
    for retry in ((), ("failed", "quarantined", "missing")):  # nothing of the kind
        result = resume_run(finished, retry=retry)
        assert result.already_finished
        assert result.all_ok


def test_the_lock_is_renewed_while_many_shards_are_opened_again(finished, tmp_path, monkeypatch):
    run, calls = tmp_path / "run", []
    shutil.copytree(finished, run)
    (run / read_rows(run)["r1"]["video"]).unlink()
    reopen_shard = RunFolder.reopen_shard

    def interrupt(*_, **__):
        raise RunInterrupted("interrupted", "by the test")

    monkeypatch.setattr(RunFolder, "reopen_shard", lambda *args: calls.append("shard") or reopen_shard(*args))
    monkeypatch.setattr(LocalLock, "renew", lambda lock: calls.append("renewal"))
    monkeypatch.setattr(loop, "run_pipeline", interrupt)
    with pytest.raises(RunInterrupted):
        resume_run(run, retry=["missing"])
    assert calls == ["shard", "renewal", "shard", "renewal"]


def test_a_missing_video_is_reported_and_made_again(finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    row = read_rows(run)["r1"]
    (run / row["video"]).unlink()
    others = {path: path.stat().st_mtime_ns for path in run.rglob("*.mp4")}

    assert RunFolder(open_storage(run)).find_missing_files() == [row["video"]]
    status = CliRunner().invoke(app, ["status", str(run), "--json"])
    assert json.loads(status.output)["missing_files"] == 1
    expected = rf"video_missing: {run}: .* missing: 1, such as {row['video']}; .* joyvasa resume {run} --retry missing"
    with pytest.raises(InputError, match=expected):
        export_dataset(str(run), str(tmp_path / "tars"))
    assert not (tmp_path / "tars").exists()
    assert "note: missing files: 1; --retry missing" in CliRunner().invoke(app, ["resume", str(run)]).output

    result = resume_run(run, retry=["missing"])
    assert result.all_ok
    assert result.statistics["stages"]["render"]["records"] == 1
    assert {path: path.stat().st_mtime_ns for path in others} == others
    assert hashlib.sha256((run / row["video"]).read_bytes()).hexdigest() == read_rows(run)["r1"]["sha256"]
    assert export_dataset(str(run), str(tmp_path / "tars")).records == 5


def test_a_run_with_other_settings_is_refused_with_the_difference(manifest, finished):
    with pytest.raises(ManifestError, match=r"run_changed.*configuration\.animation\.seed: 0 → 9"):
        generate_videos(manifest, finished, make_config("save_motion=true", "animation.seed=9"))
    with pytest.raises(ManifestError, match="run_exists"):
        generate_videos(manifest, finished, make_config("save_motion=true"))


@pytest.mark.slow
@pytest.mark.parametrize("change", ["edited", "deleted"])
def test_a_started_run_does_not_need_its_manifest(inputs, tmp_path, monkeypatch, change):
    rows = [{"record_id": f"x{n}", "image": "a.jpg", "audio": "short.wav", "note": f"n{n}"} for n in range(4)]
    path = write_manifest(inputs / "changing.csv", rows)

    def interrupted(*_):
        raise RunInterrupted("interrupted", "by the test")

    with monkeypatch.context() as patch:
        patch.setattr(ShardWriter, "record_outcome", interrupted)
        with pytest.raises(RunInterrupted):
            generate_videos(path, tmp_path / "run", make_config())
    if change == "edited":
        path.write_text(path.read_text().replace("short", "none"))
    else:
        path.unlink()
    assert resume_run(tmp_path / "run").all_ok
    outcomes = read_rows(tmp_path / "run")
    assert [(name, row["image"], row["note"]) for name, row in outcomes.items()] == [
        (f"x{n}", "a.jpg", f"n{n}") for n in range(4)
    ]


def test_bad_rows_are_refused_before_processing_unless_they_may_be_skipped(inputs, tmp_path):
    rows = [{"record_id": "x", "image": "a.jpg", "audio": "short.wav"}, {"record_id": "y", "audio": "short.wav"}]
    path = write_manifest(inputs / "rows.csv", rows)
    with pytest.raises(
        ManifestError, match=r"manifest_rows.*1 of 2 rows are bad \(line 3: image is empty; expected a path or URI\)"
    ):
        generate_videos(path, tmp_path / "run", make_config())
    assert not (tmp_path / "run").exists()
    assert generate_videos(path, tmp_path / "run", make_config("skip_bad_rows=true")).all_ok
    assert list(read_rows(tmp_path / "run")) == ["x"]


def test_a_saved_motion_plays_on_another_portrait_with_and_without_sound(finished, inputs, tmp_path):
    motion = finished / read_rows(finished)["r0"]["motion_file"]
    rows = [
        {"record_id": "silent", "image": "b.jpg", "motion": motion},
        {"record_id": "with-sound", "image": "b.jpg", "motion": motion, "audio": "other.wav"},
    ]
    result = generate_videos(
        write_manifest(inputs / "motions.csv", rows), tmp_path / "run", make_config("save_motion=true")
    )
    assert result.all_ok
    outcomes = read_rows(tmp_path / "run")
    assert outcomes["silent"]["frames"] == 6
    assert outcomes["with-sound"]["frames"] == 9
    np.testing.assert_array_equal(read_motions(tmp_path / "run")["silent"], read_motions(finished)["r0"])


@pytest.mark.slow
def test_shared_motion_is_one_per_content_of_a_recording_and_seed(inputs, tmp_path):
    (inputs / "copy.wav").write_bytes((inputs / "short.wav").read_bytes())
    sounds = {"one": "short", "two": "copy", "other": "long", "seeded": "short"}
    rows = [{"record_id": name, "image": "ab"[n % 2] + ".jpg", "audio": f"{sound}.wav"} for n, (name, sound) in
            enumerate(sounds.items())]  # fmt: skip
    rows[-1]["seed"] = 7
    path = write_manifest(inputs / "copies.csv", rows)
    result = generate_videos(path, tmp_path / "run", make_config("share_motion=true", "save_motion=true"))
    assert result.statistics["stages"]["motion"]["records"] == 3
    motions, outcomes = read_motions(tmp_path / "run"), read_rows(tmp_path / "run")
    assert np.array_equal(motions["one"], motions["two"])
    assert not np.array_equal(motions["one"], motions["seeded"])
    assert outcomes["one"]["seed"] == outcomes["two"]["seed"] == derive_seed(0, outcomes["one"]["audio_sha256"])
    assert len({row["seed"] for row in outcomes.values()}) == 3
    assert outcomes["seeded"]["seed"] == 7
    for row in outcomes.values():
        (seed,) = re.findall(rb"; seed (\d+)", (tmp_path / "run" / row["video"]).read_bytes())
        assert int(seed) == row["seed"]


def test_the_result_reads_as_json(finished):
    json.dumps(resume_run(finished).statistics)


def test_bad_stage_options_are_refused_before_anything_is_written(manifest, tmp_path):
    for option in ("stages.render.batch_size=0", "stages.motion.workers=0", "stages.render.num_gpus=0.3"):
        with pytest.raises(ConfigError, match="stage_option"):
            generate_videos(manifest, tmp_path / "run", make_config(option))
    assert not (tmp_path / "run").exists()


def test_failed_records_of_an_unfinished_shard_are_retried(inputs, tmp_path):
    names = ("appears.jpg", "a.jpg", "b.jpg")
    rows = [{"record_id": name, "image": name, "audio": "short.wav"} for name in names]
    path = write_manifest(inputs / "unfinished.csv", rows)
    with interrupted_after(2):
        generate_videos(path, tmp_path / "run", make_config("stages.render.batch_size=1"))
    folder = RunFolder(open_storage(tmp_path / "run"))
    assert folder.count_records(folder.read_manifest()).statuses == {"failed": 1, "ok": 1}
    (inputs / "appears.jpg").write_bytes((inputs / "a.jpg").read_bytes())
    assert resume_run(tmp_path / "run", retry=["failed"]).all_ok


def test_the_mode_of_a_run_is_that_of_its_rows():
    with pytest.raises(ConfigError, match=r"animation\.mode is animal.*expected the column mode"):
        make_config("animation.mode=animal")


def test_a_folder_of_models_is_stored_by_its_absolute_path(manifest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=str(tmp_path / "weights")):
        generate_videos(manifest, tmp_path / "run", make_config("animation.models=weights"))


def test_finished_videos_are_exported_as_webdataset_shards(finished, tmp_path):
    assert export_dataset(str(finished), str(tmp_path / "tars")).splits == {"train": 5}
    rows = read_rows(finished)
    with tarfile.open(tmp_path / "tars/train/00000.tar") as tar:
        assert tar.getnames() == [f"r{n}.{kind}" for n in range(5) for kind in ("mp4", "json")]
        for name in rows:
            row = json.loads(tar.extractfile(f"{name}.json").read())
            assert (row["record_id"], row["note"]) == (name, rows[name]["note"])
            content = tar.extractfile(f"{name}.mp4").read()
            assert hashlib.sha256(content).hexdigest() == row["sha256"]
    assert (tmp_path / "tars/contact_sheet.jpg").read_bytes()[:2] == b"\xff\xd8"


@pytest.mark.slow
def test_manifest_media_and_run_may_be_in_an_object_store(inputs, manifest, finished, s3_bucket):
    store = fsspec.filesystem("s3")
    for path in (manifest, *inputs.glob("[ab].jpg"), *inputs.glob("*.wav")):
        store.put(str(path), f"{s3_bucket}/in/{path.name}")
    run = f"{s3_bucket}/run"
    assert generate_videos(f"{s3_bucket}/in/{manifest.name}", run, make_config("save_motion=true")).all_ok
    expected = read_rows(finished)
    for name, row in read_rows(run).items():
        assert row["seed"] == expected[name]["seed"]
        assert hashlib.sha256(store.cat(f"{run}/{row['video']}")).hexdigest() == row["sha256"]
    assert resume_run(run).all_ok
    assert export_dataset(run, f"{s3_bucket}/tars", ExportConfig(format="parquet")).records == 5
    assert store.cat(f"{s3_bucket}/tars/checksums.sha256").count(b"\n") == 3  # one shard, the data card, the picture
    assert not [path for path in store.find(run) if "partial" in path]


def test_an_engine_option_given_by_set_reaches_the_engine(manifest, tmp_path, monkeypatch):
    configs = []

    def stop(*_, config, **__):
        configs.append(config)
        raise RunStopped("stopped", "seen enough")

    monkeypatch.setattr(loop, "run_pipeline", stop)
    with pytest.raises(RunStopped):
        generate_videos(manifest, tmp_path / "run", make_config("engine.io_retries=7", "engine.max_records=5"))
    with pytest.raises(RunStopped):
        resume_run(tmp_path / "run")
    assert configs == [EngineConfig(io_retries=7, max_records=5)] * 2
