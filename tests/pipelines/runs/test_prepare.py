"""Data sets are prepared from recordings: clips, rejected segments and reasons, also after a crash."""

import csv
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from joyvasa.errors import ConfigError, InputError
from joyvasa.training.clips import assign_split
from joyvasa.training.dataset import Dataset
from manifests.problems import ManifestError
from manifests.run.outcome_table import encode_parquet
from manifests.storage import open_storage
from pipelines.cli.main import app
from pipelines.runs.prepare import prepare_dataset
from pipelines.runs.resume import resume_run
from tests.joyvasa.training.recordings import planted, recording, talking
from tests.media import MEDIA, ffmpeg
from tests.pipelines.runs.preparing import SETTINGS, make_config
from tests.pipelines.runs.small_runs import read_rows

FEW = ("cut.mp4", "good.mp4", "other.mp4", "silent.mp4")


def read_clip_rows(folder: Path) -> list[dict]:
    return [row for path in sorted(folder.glob("shards/*/clips.parquet")) for row in pq.read_table(path).to_pylist()]


def read_content(folder: Path | str) -> dict[str, bytes]:
    """Return the content of a data set independently of its shards."""
    dataset = Dataset(open_storage(folder))
    clips = {}
    for split in ("train", "validation"):
        for location in dataset.clips(split):
            clip = dataset.read(location)
            clips[location.clip_id] = clip.motion.expression.numpy().tobytes() + clip.motion.pose.numpy().tobytes()
            clips[location.clip_id] += clip.sound.tobytes() + f"{split} {clip.start_s} {clip.source}".encode()
    template = {name: values.tobytes() for name, values in dataset.load_template_arrays().items()}
    return {**clips, **template, "fingerprint": dataset.card.fingerprint.encode()}


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> tuple[Path, dict[str, str | None]]:
    folder = tmp_path_factory.mktemp("videos")
    return folder, planted(folder)


@pytest.fixture(scope="module")
def dataset_folder(videos, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("dataset") / "out"
    result, prepared = prepare_dataset(videos[0], out, make_config())
    assert result.counts.statuses == {"ok": 2, "failed": len(videos[1]) - 2}
    assert sum(prepared.card.clips.values()) == 2
    return out


@pytest.fixture(scope="module")
def few(videos, tmp_path_factory) -> Path:
    """Return a folder with the two good recordings and two others."""
    folder = tmp_path_factory.mktemp("few")
    for name in FEW:
        shutil.copy(videos[0] / name, folder)
    return folder


def test_every_planted_fault_is_detected(videos, dataset_folder):
    rows = read_rows(dataset_folder)
    assert {name: row["error_code"] for name, row in rows.items()} == videos[1]
    assert all(row["error"].count(name) >= 1 for name, row in rows.items() if row["error"])
    assert rows["good.mp4"]["frames"] == 75
    assert rows["good.mp4"]["duration_s"] == 3


def test_each_clip_and_each_rejected_part_has_a_row(videos, dataset_folder):
    rows = read_clip_rows(dataset_folder)
    assert {row["record_id"] for row in rows} == set(videos[1])
    for row in rows:
        assert (row["status"] == "ok") == (row["clip_id"] is not None) == (row["code"] is None)
        assert (row["code"] is None) == (row["sentence"] is None)
    assert [row["code"] for row in rows if row["record_id"] == "cut.mp4"] == ["clip_cut", "clip_cut"]


def test_the_built_in_model_also_extracts_motion(videos, tmp_path):
    (tmp_path / "in").mkdir()
    shutil.copy(videos[0] / "good.mp4", tmp_path / "in")
    _, prepared = prepare_dataset(tmp_path / "in", tmp_path / "out", make_config("animation.models=sample"))
    dataset = Dataset(open_storage(tmp_path / "out"))
    (clip,) = [dataset.read(location) for split in ("train", "validation") for location in dataset.clips(split)]
    assert clip.motion.expression.shape == (75, 21, 3)
    assert clip.motion.expression.std(dim=0).max() > 0
    assert prepared.card.extractor["name"] == "sample"


def test_clips_hold_motion_and_sound_of_the_recording(videos, dataset_folder):
    dataset = Dataset(open_storage(dataset_folder))
    clips = [dataset.read(location) for split in ("train", "validation") for location in dataset.clips(split)]
    for clip in clips:
        assert clip.n_frames == 75
        assert len(clip.sound) == 48_000
        assert np.abs(clip.waveform()).max() == pytest.approx(0.5, abs=0.1)
        assert clip.motion.yaw.std() > 0
        assert clip.eye_ratio is None
        assert clip.split == assign_split(clip.source)


def test_the_card_states_counts_hours_and_reasons(dataset_folder):
    text = (dataset_folder / "README.md").read_text()
    assert "2 clips, 0.002 hours" in text
    assert "from 2 of 13 recordings" in text
    for code in ("clip_cut", "silent", "frozen", "several_faces", "video_unreadable"):
        assert f"| {code} |" in text
    about = yaml.safe_load((dataset_folder / "dataset.yaml").read_text())["about"]
    assert about["recordings"] == {"ok": 2, "failed": 11, "quarantined": 0}
    assert about["rejected"]["clip_cut"]["stretches"] == 2


def test_no_temporary_files_remain(dataset_folder):
    assert [
        path for path in dataset_folder.rglob("*") if path.name == "parts" or path.name.startswith(".partial")
    ] == []


def test_the_statistics_are_those_of_all_frames_at_once(dataset_folder):
    dataset = Dataset(open_storage(dataset_folder))
    clips = [dataset.read(location) for split in ("train", "validation") for location in dataset.clips(split)]
    frames = np.concatenate([clip.motion.expression.flatten(1).numpy() for clip in clips]).astype(np.float64)
    template = dataset.load_template_arrays()
    np.testing.assert_allclose(template["mean_exp"], frames.mean(axis=0), rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(template["std_exp"], frames.std(axis=0), rtol=1e-9)
    np.testing.assert_array_equal(template["min_exp"], frames.min(axis=0))
    np.testing.assert_array_equal(template["max_exp"], frames.max(axis=0))


@pytest.mark.slow
def test_shards_of_another_size_and_another_order_give_the_same_data_set(few, dataset_folder, tmp_path):
    with (tmp_path / "videos.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("record_id", "video"), *((name, few / name) for name in reversed(FEW))])
    prepare_dataset(tmp_path / "videos.csv", tmp_path / "out", make_config("shard_size=1"))
    assert read_content(tmp_path / "out") == read_content(dataset_folder)


@pytest.mark.slow
def test_a_data_set_in_a_bucket_is_the_same(few, dataset_folder, s3_bucket):
    result, _ = prepare_dataset(few, f"{s3_bucket}/out", make_config())
    assert result.counts.statuses == {"ok": 2, "failed": 2}
    assert read_content(f"{s3_bucket}/out") == read_content(dataset_folder)
    assert open_storage(f"{s3_bucket}/out").names("shards/00000") == ["_done.json", "clips.parquet", "records.parquet"]


KILLED = """
import os, signal, sys
import pipelines.runs.dataset_join as join
from stages.extract_motion import ExtractMotionStage
from tests.pipelines.runs.preparing import make_config
from pipelines.runs.prepare import prepare_dataset

steps = {"part": (ExtractMotionStage, "_extract"), "shard": (join, "_table"), "join": (join, "_join")}
holder, name = steps[sys.argv[3]]
before, calls = getattr(holder, name), []

def call(*arguments, **more):
    result = before(*arguments, **more)
    calls.append(1)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(holder, name, call)
prepare_dataset(sys.argv[1], sys.argv[2], make_config("shard_size=2"))
"""


@pytest.mark.slow
@pytest.mark.parametrize("step", ["part", "shard", "join"])
def test_a_run_killed_at_any_step_is_resumed_to_the_same_data_set(few, dataset_folder, tmp_path, step):
    command = [sys.executable, "-c", KILLED, str(few), str(tmp_path / "out"), step]
    assert subprocess.run(command, cwd=Path(__file__).parents[3], check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "out/dataset.yaml").exists()
    resume_run(tmp_path / "out")
    assert read_content(tmp_path / "out") == read_content(dataset_folder)
    assert read_clip_rows(tmp_path / "out") == [
        row for row in read_clip_rows(dataset_folder) if row["record_id"] in FEW
    ]
    assert not list((tmp_path / "out").rglob("parts"))


def test_repaired_recordings_are_retried_and_join_the_others(videos, dataset_folder, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name in ("good.mp4", "other.mp4"):
        shutil.copy(videos[0] / name, folder)
    (folder / "late.mp4").write_bytes(b"not yet")
    prepare_dataset(folder, tmp_path / "out", make_config())
    before = read_content(tmp_path / "out")
    recording(folder / "late.mp4", talking(60, phase=1))
    result = resume_run(tmp_path / "out", retry=["failed"])
    assert result.counts.statuses == {"ok": 3}
    after = read_content(tmp_path / "out")
    clips = {name for name in before if name.startswith(("good", "other"))}
    assert len(clips) == 2
    assert {name: before[name] for name in clips} == {name: after[name] for name in clips}
    assert [name for name in after if name.startswith("late")]


@pytest.mark.slow
def test_the_split_of_a_recording_stays_when_others_are_added(videos, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    shutil.copy(videos[0] / "other.mp4", few)
    prepare_dataset(few, tmp_path / "out", make_config("clips.validation_share=0.5"))
    (alone,) = read_clip_rows(tmp_path / "out")
    shutil.copy(videos[0] / "good.mp4", few / "a.mp4")
    shutil.copy(videos[0] / "other.mp4", few / "z copy.mp4")
    _, prepared = prepare_dataset(few, tmp_path / "more", make_config("clips.validation_share=0.5"))
    splits = {row["record_id"]: row["split"] for row in read_clip_rows(tmp_path / "more")}
    assert splits["other.mp4"] == splits["z copy.mp4"] == alone["split"]
    assert prepared.stats.repeated == 1


def test_recordings_without_any_clip_give_one_error_and_rows(videos, tmp_path):
    with pytest.raises(InputError, match=r"dataset_empty: .*1 recordings \(silent 1\)"):
        prepare_dataset(videos[0] / "silent.mp4", tmp_path / "out", make_config())
    assert not (tmp_path / "out/dataset.yaml").exists()
    assert read_rows(tmp_path / "out")["silent.mp4"]["error_code"] == "silent"


def test_animals_are_refused_before_anything_is_written(videos, tmp_path):
    rows = tmp_path / "rows.csv"
    rows.write_text(f"video,mode\n{videos[0] / 'good.mp4'},human\n{videos[0] / 'other.mp4'},animal\n")
    with pytest.raises(InputError, match=r"mode_unsupported: .*animal"):
        prepare_dataset(rows, tmp_path / "out", make_config())
    assert not (tmp_path / "out/run.yaml").exists()


def test_lost_clips_of_an_ok_recording_are_reported(dataset_folder, tmp_path):
    shutil.copytree(dataset_folder, tmp_path / "out")
    for path in (tmp_path / "out/shards").glob("*/clips.parquet"):
        path.unlink()
    with pytest.raises(InputError, match=r"clips_lost: .*is ok and has no clips"):
        resume_run(tmp_path / "out")


@pytest.mark.parametrize("content", [b"PAR1", encode_parquet(pa.table({"record_id": ["a"]}))])
def test_a_damaged_table_of_clips_is_one_sentence(dataset_folder, tmp_path, content):
    shutil.copytree(dataset_folder, tmp_path / "out")
    for path in (tmp_path / "out/shards").glob("*/clips.parquet"):
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"clips_unreadable: .*clips\.parquet: cannot be read .*prepare the data set"):
        resume_run(tmp_path / "out")


def test_a_folder_that_holds_a_run_is_refused(videos, dataset_folder):
    with pytest.raises(ManifestError, match="run_exists"):
        prepare_dataset(videos[0], dataset_folder, make_config())
    with pytest.raises(ManifestError, match="run_changed"):
        prepare_dataset(videos[0], dataset_folder, make_config("clips.min_s=3"))


def test_a_folder_that_holds_a_run_of_another_kind_is_refused(videos, tmp_path):
    (tmp_path / "run.yaml").write_text("kind: generate\n")
    with pytest.raises(ManifestError, match="run_exists"):
        prepare_dataset(videos[0], tmp_path, make_config())
    assert [file.name for file in tmp_path.iterdir()] == ["run.yaml"]


@pytest.mark.parametrize("name", ["videos.jsonl", "README.md", "dataset.yaml", "clips.parquet", "motion"])
def test_a_data_set_does_not_replace_or_join_files_of_its_user(videos, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(ManifestError, match=rf"output_exists: .*/{name}: exists"):
        prepare_dataset(videos[0], tmp_path, make_config())
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(name, "mine")]


def test_a_name_that_is_not_utf8_is_named_and_nothing_is_left(tmp_path):
    (tmp_path / "in").mkdir()
    for name in (b"a.mp4", b"caf\xe9.mp4"):
        (tmp_path / "in" / os.fsdecode(name)).write_bytes(b"video")
    with pytest.raises(ManifestError, match=r"manifest_rows: .*/in/caf.*udce9\.mp4'.* is not UTF-8: rename"):
        prepare_dataset(tmp_path / "in", tmp_path / "out", make_config())
    assert not [*(tmp_path / "out").glob("*")]


def test_bad_options_are_refused_before_anything_is_written(videos, tmp_path):
    with pytest.raises(ConfigError, match="min_s"):
        make_config("clips.min_s=0")
    with pytest.raises(ManifestError, match="no video found"):
        prepare_dataset(tmp_path / "*.mp4", tmp_path / "out", make_config())
    assert not (tmp_path / "out").exists()


def test_the_command_prints_the_clips_and_the_failures(videos, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for name in ("good.mp4", "silent.mp4"):
        shutil.copy(videos[0] / name, few)
    given = [value for setting in SETTINGS for value in ("--set", setting)]
    result = CliRunner().invoke(app, ["prepare", str(few), "--out", str(tmp_path / "out"), *given])
    assert result.exit_code == 3
    assert "1 train, 0 validation clips" in result.output or "0 train, 1 validation clips" in result.output
    assert "rejected: 1 silent, 0.1 minutes" in result.output


def test_real_recordings_become_clips(tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name, start in (("d9", 2), ("d10", 3)):
        cut = ("-ss", start, "-t", 3, "-vf", "scale=256:-2")
        ffmpeg("-i", MEDIA / f"videos/{name}.mp4", *cut, folder / f"{name}.mp4")
    result, prepared = prepare_dataset(folder, tmp_path / "out", make_config())
    assert result.all_ok
    assert sum(prepared.card.frames.values()) == pytest.approx(150, abs=4)
