"""Faults planted in real talking videos change the metrics that should detect them, and no others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from joyvasa.media.video_reader import probe_video, stream_video
from joyvasa.media.video_writer import VideoWriter
from joyvasa.metrics import METRIC_NAMES, build_metric
from joyvasa.metrics.base import Clip
from joyvasa.metrics.metric_set import explain_exception, measure_clip
from joyvasa.metrics.support.motion_readout import resample_series
from tests.joyvasa.metrics.clips import make_speaking_motion
from tests.media import DATA, MEDIA, ffmpeg

SIDE, SECONDS, RATE = 224, 7, 25
WITHOUT_WEIGHTS = [name for name in METRIC_NAMES if not build_metric(name).roles]

# Tolerated change of a number without a fault that it should detect.
NOISE = {
    "sharpness": 0.04,  # relative, as listed below
    "sharpness_worst": 0.06,
    "brightness_drift": 0.3,
    "color_drift": 0.4,
    "temporal_flickering": 0.002,
    "duplicate_share": 0.04,
    "frozen_share": 0.0,
    "longest_freeze_s": 0.0,
    "first_frame_ssim": 0.01,
    "first_frame_psnr": 0.5,
    "first_face_ssim": 0.01,
    "first_face_psnr": 0.5,
    "picture_minus_sound_s": 0.03,
    "recording_missing_s": 0.03,
    "mouth_sound_correlation": 0.06,
    "mouth_sound_lag": 0,
}
RELATIVE = ("sharpness", "sharpness_worst")


@dataclass(frozen=True)
class Talk:
    """A real talking video at 25 fps with its sound and the measured opening of the mouth."""

    frames: np.ndarray
    sound: Path
    mouth: np.ndarray
    face_box: tuple[int, int, int, int]


SLOW = pytest.mark.slow


@pytest.fixture(scope="module", params=["d20", pytest.param("d10", marks=SLOW), pytest.param("d12", marks=SLOW)])
def talk(request, tmp_path_factory) -> Talk:
    return load(request.param, tmp_path_factory.mktemp(request.param))


def load(name: str, folder: Path) -> Talk:
    video = MEDIA / f"videos/{name}.mp4"
    batches = stream_video(video, frames_per_second=RATE, size=(SIDE, SIDE))
    frames = np.concatenate(list(batches))[: SECONDS * RATE]
    ffmpeg("-i", video, "-t", SECONDS, "-vn", folder / "sound.wav")
    with np.load(DATA / "mouths.npz") as mouths:
        opening = resample_series(mouths[name].astype(float), float(mouths[f"{name}_fps"]), RATE)
    quarter = SIDE // 4
    return Talk(frames, folder / "sound.wav", opening[: len(frames)], (quarter, quarter // 2, 3 * quarter, 3 * quarter))


def score(
    talk: Talk, path: Path, *, frames: np.ndarray | None = None, sound: Path | None = None, **fields: Any
) -> dict:
    """Write a video with given frames and sound; return its metrics that need no weights."""
    frames = talk.frames if frames is None else frames
    size = {"width": SIDE, "height": SIDE, "frames_per_second": RATE, "n_frames": len(frames)}
    with VideoWriter(path, sound=sound or talk.sound, **size) as writer:
        writer.write(frames)
    clip = Clip(
        video=path,
        frames_per_second=RATE,
        width=SIDE,
        height=SIDE,
        has_sound=probe_video(path).has_sound,
        sound=talk.sound,
        face_box=talk.face_box,
        motion=make_speaking_motion(talk.mouth),
        **{"reference_frame": talk.frames[0], **fields},
    )
    scores = measure_clip(
        clip, [build_metric(name) for name in WITHOUT_WEIGHTS], stream_video(path), explain=explain_exception
    )
    return {name: value for name, value in scores.values.items() if name in NOISE}


@pytest.fixture(scope="module")
def baseline(talk, tmp_path_factory) -> dict:
    return score(talk, tmp_path_factory.mktemp("baseline") / "video.mp4")


def changed_metrics(before: dict, after: dict) -> set[str]:
    """Return the names of metrics that changed by more than the tolerance."""
    change = {name: abs(after[name] - before[name]) for name in NOISE}
    return {name for name in NOISE if change[name] > NOISE[name] * (before[name] if name in RELATIVE else 1)}


def test_a_video_without_faults_has_plausible_numbers(baseline):
    assert None not in baseline.values()
    assert baseline["frozen_share"] == 0
    assert baseline["first_frame_ssim"] > 0.9
    assert abs(baseline["picture_minus_sound_s"]) < 0.06


def test_a_second_encoding_changes_only_fine_detail(talk, baseline, tmp_path):
    frames = np.concatenate(list(stream_video(_write_video(talk, tmp_path / "first.mp4"))))
    changed_names = changed_metrics(baseline, score(talk, tmp_path / "second.mp4", frames=frames))
    assert {name for name in changed_names if not name.startswith(("sharpness", "first_"))} == set()


def test_a_frozen_second_is_detected(talk, baseline, tmp_path):
    frames = talk.frames.copy()
    frames[60:85] = frames[60]
    after = score(talk, tmp_path / "video.mp4", frames=frames)
    expected = {"duplicate_share", "frozen_share", "longest_freeze_s"}
    assert expected <= changed_metrics(baseline, after) <= expected | {"temporal_flickering"}
    assert after["frozen_share"] == pytest.approx(25 / len(frames), abs=3 / len(frames))
    assert after["longest_freeze_s"] == pytest.approx(1, abs=0.12)
    assert after["temporal_flickering"] >= baseline["temporal_flickering"]


def test_a_blurred_second_is_detected(talk, baseline, tmp_path):
    frames = talk.frames.copy()
    frames[50:75] = [cv2.GaussianBlur(frame, (0, 0), 4) for frame in frames[50:75]]
    after = score(talk, tmp_path / "video.mp4", frames=frames)
    assert changed_metrics(baseline, after) == {"sharpness", "sharpness_worst"}
    assert after["sharpness_worst"] < 0.4 * baseline["sharpness_worst"]


def test_a_face_that_becomes_lighter_is_detected_as_drift(talk, baseline, tmp_path):
    frames = talk.frames.copy()
    for index in range(100, len(frames)):
        frames[index] = cv2.add(frames[index], (0.5 * (index - 100),) * 3)
    after = score(talk, tmp_path / "video.mp4", frames=frames)
    assert {"brightness_drift"} <= changed_metrics(baseline, after) <= {"brightness_drift", "color_drift"}
    assert after["brightness_drift"] > baseline["brightness_drift"] + 5


def test_a_change_of_color_is_detected_as_color_drift(talk, baseline, tmp_path):
    frames = talk.frames.copy()
    frames[100:] = [cv2.transform(frame, np.diag([1.2, 0.98, 0.7])) for frame in frames[100:]]
    after = score(talk, tmp_path / "video.mp4", frames=frames)
    assert "color_drift" in changed_metrics(baseline, after)
    assert after["color_drift"] > baseline["color_drift"] + 8


def test_another_person_in_the_source_picture_changes_the_first_frame_metrics(talk, baseline, tmp_path):
    other = load("d9", tmp_path)
    after = score(talk, tmp_path / "video.mp4", reference_frame=other.frames[0])
    assert changed_metrics(baseline, after) == {
        "first_frame_ssim",
        "first_frame_psnr",
        "first_face_ssim",
        "first_face_psnr",
    }
    assert after["first_face_ssim"] < 0.6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["d20", pytest.param("d10", marks=SLOW)])  # in d12 two lags are equally good
def test_sound_shifted_by_five_frames_changes_the_lag_by_five(name, tmp_path):
    talk = load(name, tmp_path)
    baseline = score(talk, tmp_path / "baseline.mp4")
    for frames_late in (5, -5):
        after = score(
            talk, tmp_path / "late.mp4", sound=shift_sound(talk.sound, frames_late, tmp_path / "shift_sound.wav")
        )
        assert {"mouth_sound_lag"} <= changed_metrics(baseline, after) <= {"mouth_sound_lag", "mouth_sound_correlation"}
        assert after["mouth_sound_lag"] == baseline["mouth_sound_lag"] - frames_late


def shift_sound(sound: Path, frames_late: int, target: Path) -> Path:
    seconds = abs(frames_late) / RATE
    shift = ("-af", f"adelay={seconds * 1000:.0f}:all=1") if frames_late > 0 else ("-ss", seconds)
    ffmpeg("-i", sound, *shift, target)
    return target


def test_sound_that_ends_early_changes_the_lengths(talk, baseline, tmp_path):
    _write_video(talk, tmp_path / "whole.mp4")
    ffmpeg("-i", tmp_path / "whole.mp4", "-c", "copy", "-map", "0:v", tmp_path / "silent.mp4")
    ffmpeg("-i", talk.sound, "-t", SECONDS - 2, tmp_path / "short.wav")
    path = tmp_path / "cut.mp4"
    ffmpeg("-i", tmp_path / "silent.mp4", "-i", tmp_path / "short.wav", "-c:v", "copy", path)
    clip = replace(_clip(talk, path), sound=talk.sound)
    values = measure_clip(clip, [build_metric("length")], stream_video(path), explain=explain_exception).values
    assert values["picture_minus_sound_s"] == pytest.approx(2, abs=0.06)
    assert values["recording_missing_s"] == pytest.approx(2, abs=0.06)


@SLOW
@pytest.mark.parametrize("name", ["d9", "d20"])
def test_the_sound_of_another_video_lowers_the_correlation(name, tmp_path):
    own = load(name, tmp_path)
    right = score(own, tmp_path / "right.mp4")
    for other in {"d9", "d10", "d12", "d20"} - {name}:
        (tmp_path / other).mkdir()
        wrong = score(own, tmp_path / f"{other}.mp4", sound=load(other, tmp_path / other).sound)
        assert changed_metrics(right, wrong) - {"recording_missing_s", "picture_minus_sound_s"} <= {
            "mouth_sound_correlation",
            "mouth_sound_lag",
        }
        assert wrong["mouth_sound_correlation"] < right["mouth_sound_correlation"] - NOISE["mouth_sound_correlation"]


def _clip(talk: Talk, path: Path) -> Clip:
    return Clip(video=path, frames_per_second=RATE, width=SIDE, height=SIDE, has_sound=True)


def _write_video(talk: Talk, path: Path) -> Path:
    size = {"width": SIDE, "height": SIDE, "frames_per_second": RATE, "n_frames": len(talk.frames)}
    with VideoWriter(path, sound=talk.sound, **size) as writer:
        writer.write(talk.frames)
    return path
