"""Rows of a run with different controls."""

import csv
import random
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from joyvasa.animator import Animator
from joyvasa.config import apply_options, load_config
from joyvasa.errors import ConfigError
from joyvasa.options import AnimationConfig
from manifests.problems import ManifestError
from pipelines.runs.generate import generate_videos
from tests.media import EXAMPLES, read_frames, write_tone
from tests.pipelines.runs.small_runs import make_config, read_rows

CONTROLS = [
    {},
    {"pose.yaw": 12},
    {"pose.yaw": -12, "smile": 0.8},
    {"mouth.open": 0.3, "eyes.open": 0.3},
    {"driving.multiplier": 0},
    {"paste_back": "false"},
]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    picture = cv2.imread(str(EXAMPLES / "officer.jpg"))
    cv2.imwrite(str(folder / "a.jpg"), cv2.resize(picture, (256, 256 * picture.shape[0] // picture.shape[1])))
    write_tone(folder / "short.wav", seconds=0.2)
    return folder


def write_rows(path, rows):
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)
    return path


def make_rows(controls):
    return [
        {"record_id": f"r{n}", "image": "a.jpg", "audio": "short.wav", "seed": 7, **row}
        for n, row in enumerate(controls)
    ]


@pytest.fixture(scope="module")
def finished(inputs, tmp_path_factory):
    run = tmp_path_factory.mktemp("run") / "run"
    manifest = write_rows(inputs / "controls.csv", make_rows(CONTROLS))
    return run, generate_videos(manifest, run, make_config("determinism=strict", "animation.smile=0.2"))


def test_rows_that_differ_in_controls_share_portrait_sound_and_motion(finished):
    _, result = finished
    stages = result.statistics["stages"]
    computed = {name: (stage["records"], stage["shared"]) for name, stage in stages.items()}
    assert result.all_ok
    for name in ("portrait", "speech", "motion"):
        assert computed[name] == (1, 5), name
    assert computed["render"] == (6, 0)


def test_outcome_rows_state_the_values_used(finished):
    rows = read_rows(finished[0])
    assert [row["pose.yaw"] for row in rows.values()] == [0, 12, -12, 0, 0, 0]
    assert [row["smile"] for row in rows.values()] == [0.2, 0.2, 0.8, 0.2, 0.2, 0.2]  # the run sets 0.2
    assert [row["mouth.open"] for row in rows.values()] == [None, None, None, 0.3, None, None]
    assert [row["paste_back"] for row in rows.values()] == [True] * 5 + [False]


def test_controls_change_the_video_of_their_row_alone(finished):
    run, _ = finished
    videos = [read_frames(run / row["video"]) for row in read_rows(run).values()]
    assert videos[5].shape[1:3] == (256, 256)
    for video in videos[1:5]:
        assert np.abs(video.astype(int) - videos[0]).max() > 30
    assert np.abs(videos[4].astype(int) - videos[4][0]).mean() < 1  # held still


def test_strict_videos_do_not_depend_on_the_other_rows_of_a_batch(finished, inputs, tmp_path):
    run, _ = finished
    alone = write_rows(inputs / "alone.csv", make_rows(CONTROLS)[2:3])
    generate_videos(alone, tmp_path / "run", make_config("determinism=strict", "animation.smile=0.2"))
    assert read_rows(tmp_path / "run")["r2"]["sha256"] == read_rows(run)["r2"]["sha256"]


def test_a_row_that_the_models_cannot_do_is_refused_before_the_run_starts(inputs, tmp_path):
    rows = make_rows([{}, {"gaze.x": 0.5}, {"gaze.x": 0}])
    manifest = write_rows(inputs / "gaze.csv", rows)
    with pytest.raises(ManifestError, match=r"manifest_rows: .*gaze.x is set.*irises"):
        generate_videos(manifest, tmp_path / "run", make_config())
    result = generate_videos(manifest, tmp_path / "run", make_config("skip_bad_rows=true"))
    assert result.counts.statuses == {"ok": 2}


def test_a_control_of_the_run_that_the_models_cannot_do_is_refused(inputs, tmp_path):
    manifest = write_rows(inputs / "plain.csv", make_rows([{}]))
    with pytest.raises(ConfigError, match=r"control_unsupported: gaze.y is set"):
        generate_videos(manifest, tmp_path / "run", make_config("animation.gaze.y=0.5"))


def test_rows_with_another_framing_have_portraits_of_their_own(inputs, tmp_path):
    rows = make_rows([{}, {"framing.scale": 1.2}, {"framing.scale": 1.2, "pose.roll": 5}])
    result = generate_videos(write_rows(inputs / "framing.csv", rows), tmp_path / "run", make_config())
    stages = result.statistics["stages"]
    assert (stages["portrait"]["records"], stages["portrait"]["shared"]) == (2, 1)
    assert stages["motion"]["records"] == 1


@pytest.fixture(scope="module")
def animator():
    return Animator(load_config(AnimationConfig, settings=["device=cpu"]))


def test_a_preview_shows_the_controls_without_a_recording(animator):
    portrait = animator.encode_portraits([animator.read_picture(EXAMPLES / "officer.jpg")])[0]
    still = animator.preview(portrait).astype(int)
    assert still.shape == (600, 512, 3)
    assert np.abs(still - portrait.picture.image).mean() < 6
    opened = animator.preview(portrait, apply_options(animator.config, (("mouth.open", 0.4),)))
    assert np.abs(opened - still).max() > 60
    with pytest.raises(ConfigError, match="control_unsupported"):
        animator.preview(portrait, apply_options(animator.config, (("gaze.x", 0.4),)))


@torch.inference_mode()
def test_the_head_of_a_preview_turns_by_the_angle_asked_for(animator):
    options = apply_options(animator.config, (("paste_back", False),))
    portrait = animator.encode_portraits([animator.read_picture(EXAMPLES / "officer.jpg", options)])[0]
    extractor = animator.models.network("motion_extractor")

    def angles(**controls):
        frame = animator.preview(portrait, apply_options(options, tuple(controls.items())))
        heads = extractor(torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255)
        return {name: float(heads[name]) for name in ("yaw", "pitch", "roll")}

    still = angles()
    for name in still:
        moved = angles(**{f"pose.{name}": 15.0})
        for other, angle in moved.items():
            assert angle - still[other] == pytest.approx(15 if other == name else 0, abs=3), (name, other)


@pytest.mark.slow
def test_a_manifest_that_varies_six_controls_runs_once_on_ray(inputs, tmp_path):
    draw = random.Random(0)
    ranges = {
        "pose.yaw": (-15, 15),
        "pose.amount": (0, 2),
        "mouth.amount": (0.5, 1.5),
        "blink.rate": (0, 40),
        "smile": (0, 1),
        "framing.scale": (0.9, 1.1),
    }
    controls = [{name: round(draw.uniform(*ends), 3) for name, ends in ranges.items()} for _ in range(40)]
    manifest = write_rows(inputs / "forty.csv", make_rows(controls))
    result = generate_videos(manifest, tmp_path / "run", make_config("executor=ray", "shard_size=16"))
    rows = read_rows(tmp_path / "run")
    assert result.counts.statuses == {"ok": 40}
    for number, given in enumerate(controls):
        assert {name: rows[f"r{number}"][name] for name in ranges} == given
    assert len({row["sha256"] for row in rows.values()}) == 40
    assert result.statistics["stages"]["motion"]["records"] == 1
