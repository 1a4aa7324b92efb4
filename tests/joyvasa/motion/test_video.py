"""Motion that is read from videos, with the built-in model."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from joyvasa.animator import Animator
from joyvasa.config import load_config
from joyvasa.errors import ConfigError, InputError
from joyvasa.media.video_reader import probe_video
from joyvasa.models import Models
from joyvasa.motion.file import load_motion, save_motion
from joyvasa.motion.sequence import MotionSequence
from joyvasa.motion.timing import resample_motion
from joyvasa.motion.video import DrivingVideoConfig, is_video
from joyvasa.options import AnimationConfig
from joyvasa.sample.networks.points import INNER_LOWER_LIP, INNER_UPPER_LIP
from tests.bench.video_motion import build_motion
from tests.joyvasa.training.recordings import empty, talking
from tests.media import EXAMPLES, MEDIA, MORE_MEDIA, ffmpeg, needs_more_media, write_tone, write_video

N_FRAMES = 40


def mouth_gap(motion: MotionSequence) -> np.ndarray:
    return (motion.expression[:, INNER_LOWER_LIP, 1] - motion.expression[:, INNER_UPPER_LIP, 1]).numpy()


def correlate(left: torch.Tensor | np.ndarray, right: torch.Tensor | np.ndarray) -> float:
    return float(np.corrcoef(np.ravel(left), np.ravel(right))[0, 1])


@pytest.fixture(scope="module")
def models():
    return Models(load_config(AnimationConfig, settings=["picture.max_side=400", "driving.multiplier=1.0"]))


@pytest.fixture(scope="module")
def made(models, tmp_path_factory):
    """A motion with turns of the head and an opening mouth, and the video that this program makes of it."""
    folder = tmp_path_factory.mktemp("video")
    still = models.read_motion(MEDIA / "motion/d1.npz").file.motion
    time_s = torch.arange(N_FRAMES)[:, None] / 25
    expression = torch.zeros(N_FRAMES, still.expression.shape[1], 3)
    opening = 0.1 * (1 - torch.cos(9 * time_s))[:, 0]
    expression[:, INNER_LOWER_LIP, 1] = opening
    expression[:, INNER_UPPER_LIP, 1] = -0.2 * opening
    motion = MotionSequence(
        expression=expression,
        scale=torch.full((N_FRAMES, 1), 0.4),
        translation=torch.zeros(N_FRAMES, 3),
        pitch=6 * torch.sin(4 * time_s),
        yaw=10 * torch.sin(3 * time_s),
        roll=6 * torch.sin(5 * time_s + 1),
    )
    save_motion(folder / "motion.safetensors", motion)
    sound = write_tone(folder / "tone.wav", seconds=N_FRAMES / 25)
    video = folder / "made.mp4"
    animator = Animator(models.config, models=models)
    animator.animate(EXAMPLES / "portrait.jpg", sound, video, motion=folder / "motion.safetensors")
    return motion, video


@pytest.fixture(scope="module")
def read(made, models):
    """The motion that is read from this video."""
    return models.read_motion(made[1])


def test_motion_read_from_a_video_is_the_motion_that_made_it(made, read):
    motion, _ = made
    assert len(read.file.motion) == N_FRAMES
    assert read.warnings == ()
    assert read.sound_channels == 1
    assert read.file.provenance["bundle"] == "sample"
    for name in ("pitch", "yaw", "roll"):
        assert correlate(getattr(motion, name), getattr(read.file.motion, name)) >= 0.95, name
    assert correlate(mouth_gap(motion), mouth_gap(read.file.motion)) >= 0.9


@needs_more_media
@pytest.mark.slow
def test_the_opening_of_a_mouth_under_a_moustache_is_read(models, tmp_path):
    models = models.with_config(load_config(AnimationConfig, settings=["driving.multiplier=1.0"]))
    video, animator = tmp_path / "made.mp4", Animator(models.config, models=models)
    motion = build_motion(animator)
    save_motion(tmp_path / "motion.safetensors", motion)
    animator.animate(MORE_MEDIA / "portraits/s12.jpg", None, video, motion=tmp_path / "motion.safetensors")
    assert correlate(mouth_gap(motion), mouth_gap(models.read_motion(video).file.motion)) >= 0.9


def test_the_mean_of_two_readings_is_steadier_than_one(made, read, models):
    once = models.with_config(dataclasses.replace(models.config, driving_video=DrivingVideoConfig(steady=False)))

    def tremble(motion: MotionSequence) -> float:
        return float(torch.cat([motion.pitch, motion.yaw, motion.roll], 1).diff(n=2, dim=0).std(0).mean())

    assert tremble(read.file.motion) < 0.9 * tremble(once.read_motion(made[1]).file.motion)


@pytest.mark.slow
def test_a_video_of_another_rate_gives_motion_at_the_rate_of_the_model(made, read, models, tmp_path):
    _, video = made
    ffmpeg("-i", video, "-vf", "fps=60", "-c:a", "copy", tmp_path / "sixty.mp4")
    assert probe_video(tmp_path / "sixty.mp4").frames_per_second == 60
    motion = models.read_motion(tmp_path / "sixty.mp4").file.motion
    assert motion.frames_per_second == 25
    assert abs(len(motion) - N_FRAMES) <= 1
    assert correlate(read.file.motion.yaw[: len(motion)], motion.yaw[:N_FRAMES]) > 0.99


def test_rotation_in_the_metadata_is_applied(made, read, models, tmp_path):
    _, video = made
    ffmpeg("-i", video, "-vf", "transpose=1", "-an", tmp_path / "turned.mp4")
    ffmpeg("-display_rotation", 90, "-i", tmp_path / "turned.mp4", "-c", "copy", tmp_path / "rotated.mp4")
    rotated = models.read_motion(tmp_path / "rotated.mp4")
    assert correlate(read.file.motion.roll, rotated.file.motion.roll) > 0.99
    assert abs(read.file.motion.roll - rotated.file.motion.roll).max() < 3
    assert rotated.sound_channels == 0


@pytest.mark.slow
def test_motion_is_interpolated_while_the_face_is_away(made, models, tmp_path):
    _, video = made
    hide = "drawbox=color=gray:t=fill:enable='between(n,10,24)'"
    ffmpeg("-i", video, "-vf", hide, "-c:a", "copy", tmp_path / "away.mp4")
    away = models.read_motion(tmp_path / "away.mp4")
    motion = away.file.motion
    (warning,) = [warning for warning in away.warnings if warning.code == "face_lost"]
    assert "no face found from 0.40 to 1.00 s" in warning.sentence
    yaw = motion.yaw[10:25, 0]
    assert torch.allclose(yaw.diff(), yaw.diff().mean(), atol=1e-3)  # a straight line


@pytest.mark.parametrize(
    ("frames", "code"),
    [(empty(20), "face_not_found"), (np.concatenate([talking(10), empty(30)]), "face_lost")],
)
def test_a_video_without_a_face_is_refused_with_one_sentence(frames, code, models, tmp_path):
    write_video(tmp_path / "video.mp4", frames)
    with pytest.raises(InputError, match=code):
        models.read_motion(tmp_path / "video.mp4")


@pytest.mark.slow
def test_one_of_two_faces_is_followed(models, tmp_path):
    still, moving = np.repeat(talking(1), 25, axis=0), talking(25)
    write_video(tmp_path / "pair.mp4", np.concatenate([still, moving], axis=2))
    first, second = (
        models.with_config(
            dataclasses.replace(models.config, driving_video=DrivingVideoConfig(face_index=index))
        ).read_motion(tmp_path / "pair.mp4")
        for index in (0, 1)
    )
    assert "several_faces" in [warning.code for warning in first.warnings]
    ranges = sorted(float(np.ptp(motion.file.motion.translation[:, 0])) for motion in (first, second))
    assert ranges[0] < 0.2 * ranges[1]
    with pytest.raises(InputError, match=r"face_index: .* at most 2 faces"):
        models.with_config(
            dataclasses.replace(models.config, driving_video=DrivingVideoConfig(face_index=2))
        ).read_motion(tmp_path / "pair.mp4")


def test_videos_and_motion_files_are_told_apart_by_content(made, tmp_path):
    motion, video = made
    save_motion(tmp_path / "motion.mp4", motion)
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "list.mp4").write_text("#EXTM3U\nother.mp4")
    video.with_suffix(".npz").write_bytes(video.read_bytes())
    assert is_video(video.with_suffix(".npz"))
    assert not any(is_video(tmp_path / name) for name in ("motion.mp4", "text.mp4", "list.mp4", "absent.mp4"))


def test_reading_a_motion_file_needs_no_networks(models):
    motion = models.read_motion(MEDIA / "motion/d1.npz").file.motion
    assert motion.expression.equal(load_motion(MEDIA / "motion/d1.npz").motion.expression)


def test_options_are_checked():
    with pytest.raises(ConfigError, match=r"driving_video.crop_scale is 0.0; expected above 0"):
        DrivingVideoConfig(crop_scale=0.0)


def test_a_shorter_recording_cuts_the_motion(made, models, tmp_path):
    motion, _ = made
    sound = write_tone(tmp_path / "tone.wav", seconds=0.4)
    save_motion(tmp_path / "motion.safetensors", resample_motion(motion, 50))
    animator = Animator(models.config, models=models)
    animation = animator.animate(
        EXAMPLES / "portrait.jpg", sound, tmp_path / "out.mp4", motion=tmp_path / "motion.safetensors"
    )
    assert animation.n_frames == 10
    assert torch.allclose(animation.motion.yaw, motion.yaw[:10], atol=0.1)
