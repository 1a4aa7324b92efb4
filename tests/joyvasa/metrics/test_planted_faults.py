"""Faults planted into real talking videos: the numbers that should see one move, and no others."""

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
from tests.joyvasa.metrics.clips import speaking
from tests.media import DATA, MEDIA, ffmpeg

SIDE, SECONDS, RATE = 224, 7, 25
WITHOUT_WEIGHTS = [name for name in METRIC_NAMES if not build_metric(name).roles]

# How far a number may move although nothing happened that it should see.
NOISE = {
    "sharpness": 0.04,  # of its value
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
    """A real talking video at 25 frames a second, what was heard, and how its mouth was seen to open."""

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


def score(talk: Talk, path: Path, *, frames: np.ndarray | None = None, sound: Path | None = None, **known: Any) -> dict:
    """All numbers that need no weights, of a video that is written with these frames and this sound."""
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
        motion=speaking(talk.mouth),
        **{"reference_frame": talk.frames[0], **known},
    )
    scores = measure_clip(
        clip, [build_metric(name) for name in WITHOUT_WEIGHTS], stream_video(path), explain=explain_exception
    )
    return {name: value for name, value in scores.values.items() if name in NOISE}


@pytest.fixture(scope="module")
def sane(talk, tmp_path_factory) -> dict:
    return score(talk, tmp_path_factory.mktemp("sane") / "video.mp4")


def moved(before: dict, after: dict) -> set[str]:
    """Numbers that moved by more than noise."""
    change = {name: abs(after[name] - before[name]) for name in NOISE}
    return {name for name in NOISE if change[name] > NOISE[name] * (before[name] if name in RELATIVE else 1)}


def test_a_sane_video_has_sane_numbers(sane):
    assert None not in sane.values()
    assert sane["frozen_share"] == 0
    assert sane["first_frame_ssim"] > 0.9
    assert abs(sane["picture_minus_sound_s"]) < 0.06


def test_a_second_encoding_moves_nothing_but_fine_detail(talk, sane, tmp_path):
    frames = np.concatenate(list(stream_video(_written(talk, tmp_path / "first.mp4"))))
    found = moved(sane, score(talk, tmp_path / "second.mp4", frames=frames))
    assert {name for name in found if not name.startswith(("sharpness", "first_"))} == set()


def test_a_frozen_second_is_seen_as_frozen(talk, sane, tmp_path):
    frames = talk.frames.copy()
    frames[60:85] = frames[60]
    after = score(talk, tmp_path / "video.mp4", frames=frames)
    seen = {"duplicate_share", "frozen_share", "longest_freeze_s"}
    assert seen <= moved(sane, after) <= seen | {"temporal_flickering"}
    assert after["frozen_share"] == pytest.approx(25 / len(frames), abs=3 / len(frames))
    assert after["longest_freeze_s"] == pytest.approx(1, abs=0.12)
    assert after["temporal_flickering"] >= sane["temporal_flickering"]


def test_a_blurred_second_is_seen_as_blurred(talk, sane, tmp_path):
    frames = talk.frames.copy()
    frames[50:75] = [cv2.GaussianBlur(frame, (0, 0), 4) for frame in frames[50:75]]
    after = score(talk, tmp_path / "video.mp4", frames=frames)
    assert moved(sane, after) == {"sharpness", "sharpness_worst"}
    assert after["sharpness_worst"] < 0.4 * sane["sharpness_worst"]


def test_a_face_that_grows_lighter_is_seen_as_drift(talk, sane, tmp_path):
    frames = talk.frames.copy()
    for at in range(100, len(frames)):
        frames[at] = cv2.add(frames[at], (0.5 * (at - 100),) * 3)
    after = score(talk, tmp_path / "video.mp4", frames=frames)
    assert {"brightness_drift"} <= moved(sane, after) <= {"brightness_drift", "color_drift"}
    assert after["brightness_drift"] > sane["brightness_drift"] + 5


def test_a_face_that_changes_its_color_is_seen_as_drift_of_color(talk, sane, tmp_path):
    frames = talk.frames.copy()
    frames[100:] = [cv2.transform(frame, np.diag([1.2, 0.98, 0.7])) for frame in frames[100:]]
    after = score(talk, tmp_path / "video.mp4", frames=frames)
    assert "color_drift" in moved(sane, after)
    assert after["color_drift"] > sane["color_drift"] + 8


def test_another_person_in_the_source_picture_is_seen_in_the_first_frame(talk, sane, tmp_path):
    other = load("d9", tmp_path)
    after = score(talk, tmp_path / "video.mp4", reference_frame=other.frames[0])
    assert moved(sane, after) == {"first_frame_ssim", "first_frame_psnr", "first_face_ssim", "first_face_psnr"}
    assert after["first_face_ssim"] < 0.6


@pytest.mark.parametrize("name", ["d20", pytest.param("d10", marks=SLOW)])  # in d12 two lags are equally good
def test_sound_shifted_by_five_frames_moves_the_lag_by_five(name, tmp_path):
    talk = load(name, tmp_path)
    sane = score(talk, tmp_path / "sane.mp4")
    for frames_late in (5, -5):
        after = score(talk, tmp_path / "late.mp4", sound=shifted(talk.sound, frames_late, tmp_path / "shifted.wav"))
        assert {"mouth_sound_lag"} <= moved(sane, after) <= {"mouth_sound_lag", "mouth_sound_correlation"}
        assert after["mouth_sound_lag"] == sane["mouth_sound_lag"] - frames_late


def shifted(sound: Path, frames_late: int, target: Path) -> Path:
    seconds = abs(frames_late) / RATE
    shift = ("-af", f"adelay={seconds * 1000:.0f}:all=1") if frames_late > 0 else ("-ss", seconds)
    ffmpeg("-i", sound, *shift, target)
    return target


def test_sound_that_ends_early_is_seen_in_the_lengths(talk, sane, tmp_path):
    _written(talk, tmp_path / "whole.mp4")
    ffmpeg("-i", tmp_path / "whole.mp4", "-c", "copy", "-map", "0:v", tmp_path / "silent.mp4")
    ffmpeg("-i", talk.sound, "-t", SECONDS - 2, tmp_path / "short.wav")
    path = tmp_path / "cut.mp4"
    ffmpeg("-i", tmp_path / "silent.mp4", "-i", tmp_path / "short.wav", "-c:v", "copy", path)
    clip = replace(_clip(talk, path), sound=talk.sound)
    found = measure_clip(clip, [build_metric("length")], stream_video(path), explain=explain_exception).values
    assert found["picture_minus_sound_s"] == pytest.approx(2, abs=0.06)
    assert found["recording_missing_s"] == pytest.approx(2, abs=0.06)


@SLOW
@pytest.mark.parametrize("name", ["d9", "d20"])
def test_the_sound_of_another_video_loses_the_mouth(name, tmp_path):
    own = load(name, tmp_path)
    right = score(own, tmp_path / "right.mp4")
    for other in {"d9", "d10", "d12", "d20"} - {name}:
        (tmp_path / other).mkdir()
        wrong = score(own, tmp_path / f"{other}.mp4", sound=load(other, tmp_path / other).sound)
        assert moved(right, wrong) - {"recording_missing_s", "picture_minus_sound_s"} <= {
            "mouth_sound_correlation",
            "mouth_sound_lag",
        }
        assert wrong["mouth_sound_correlation"] < right["mouth_sound_correlation"] - NOISE["mouth_sound_correlation"]


def _clip(talk: Talk, path: Path) -> Clip:
    return Clip(video=path, frames_per_second=RATE, width=SIDE, height=SIDE, has_sound=True)


def _written(talk: Talk, path: Path) -> Path:
    size = {"width": SIDE, "height": SIDE, "frames_per_second": RATE, "n_frames": len(talk.frames)}
    with VideoWriter(path, sound=talk.sound, **size) as writer:
        writer.write(talk.frames)
    return path
