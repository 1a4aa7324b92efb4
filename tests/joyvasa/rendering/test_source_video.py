"""Videos whose face is animated, with the built-in model."""

import weakref
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from joyvasa.animator import Animator
from joyvasa.config import load_config
from joyvasa.errors import ConfigError
from joyvasa.faces.geometry import CropConfig
from joyvasa.faces.video import FaceFollower, VideoFrames
from joyvasa.media.ffmpeg import list_streams
from joyvasa.motion.file import save_motion
from joyvasa.motion.keypoints import KeypointInfo
from joyvasa.options import AnimationConfig
from joyvasa.rendering.portrait import Portrait
from joyvasa.rendering.source_video import SourceVideo, SourceVideoConfig, SourceVideoRenderer, is_source_video
from joyvasa.sample.networks.points import INNER_LOWER_LIP
from tests.joyvasa.training.recordings import empty, talking
from tests.media import EXAMPLES, MEDIA, read_frames, write_tone, write_video
from tests.motions import opening_mouth

RATE, N_FRAMES, AWAY = 30.0, 24, slice(10, 16)


@pytest.fixture(scope="module")
def animator():
    return Animator(load_config(AnimationConfig, settings=["encoding.crf=8"]))


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A swaying face that is away for six frames, at 30 frames per second."""
    frames = talking(N_FRAMES)
    frames[AWAY] = empty(6)
    return write_video(tmp_path_factory.mktemp("source") / "source.mp4", frames, rate=RATE)


@pytest.fixture(scope="module")
def result(animator, source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("result")
    save_motion(folder / "motion.safetensors", opening_mouth(40))
    animation = animator.animate(source, None, folder / "out.mp4", motion=folder / "motion.safetensors")
    return animation, read_frames(folder / "out.mp4").astype(int)


def test_the_result_has_the_rate_and_the_length_of_the_source(result):
    animation, frames = result
    assert animation.frames_per_second == RATE
    assert animation.n_frames == len(frames) == N_FRAMES
    assert any("0.80 s of video for 1.60 s of motion" in warning for warning in animation.warnings)


def test_frames_without_the_face_stay_as_they_are_and_one_sentence_says_so(result, source):
    animation, frames = result
    assert sum("no face found from" in warning for warning in animation.warnings) == 1
    difference = np.abs(frames - read_frames(source).astype(int))[11:15]
    assert difference.mean() < 3  # encoded twice


def test_the_head_keeps_its_own_motion_and_the_lips_follow(result, source, animator, tmp_path):
    _, frames = result
    write_video(tmp_path / "out.mp4", frames.astype(np.uint8), rate=RATE)
    own, made = (animator.models.read_motion(path).file.motion for path in (source, tmp_path / "out.mp4"))
    assert (made.roll - own.roll).abs().max() < 4  # the roll of 30 degrees of the motion is not followed
    opened = made.expression[:, INNER_LOWER_LIP, 1] - own.expression[:, INNER_LOWER_LIP, 1]
    assert opened[:6].min() > 0.1


def test_lips_follow_a_recording(animator, source, tmp_path):
    sound = write_tone(tmp_path / "tone.wav", seconds=0.4)
    animation = animator.animate(source, sound, tmp_path / "out.mp4")
    assert animation.n_frames == 12
    assert list_streams(tmp_path / "out.mp4") == ["video/h264", "audio/aac"]


def test_videos_and_pictures_are_told_apart(source, tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    assert is_source_video(source)
    names = (EXAMPLES / "portrait.jpg", MEDIA / "speech/joyvasa_002.flac", tmp_path / "text.mp4", tmp_path / "absent")
    assert not any(is_source_video(path) for path in names)


def test_an_unknown_region_is_refused():
    with pytest.raises(ConfigError, match=r"source_video.region is 'nose'"):
        SourceVideoConfig(region="nose")  # type: ignore[arg-type]


def stand_in(**members) -> Any:
    return SimpleNamespace(**members)


class FramesInMemory:
    """Decoder of gray frames that counts those in memory."""

    def __init__(self, n_frames: int) -> None:
        self.n_frames, self.now, self.most = n_frames, 0, 0

    def stream(self, path, *, size, batch_frames=16, **_):
        for start in range(0, self.n_frames, batch_frames):
            n = min(batch_frames, self.n_frames - start)
            frames = np.zeros((n, size[1], size[0], 3), np.uint8)
            self.now += n
            self.most = max(self.most, self.now)
            weakref.finalize(frames, self._release, n)
            yield frames

    def _release(self, n):
        self.now -= n


def count_frames_in_memory(n_frames, batch_frames, monkeypatch):
    """Return the largest number of decoded frames in memory while a long source video is followed and rendered."""
    memory, side = FramesInMemory(n_frames), 16
    monkeypatch.setattr("joyvasa.media.video_reader.stream_video", memory.stream)
    frames = VideoFrames(Path("long.mp4"), stand_in(), Fraction(25), side, side)
    follower = FaceFollower(
        detector=None, index=0, option="face.index", min_side=1, scale=1.0, vx_ratio=0.0, vy_ratio=0.0
    )
    one = torch.ones(1, 1)
    info = KeypointInfo(one, one, one, torch.ones(1, 3), torch.ones(1, 21, 3), one, torch.ones(1, 21, 3))
    renderer = SourceVideoRenderer(
        stand_in(encode=lambda pictures: [Portrait(picture, one, info) for picture in pictures]),
        stand_in(render=lambda *_, **__: torch.zeros(batch_frames, side, side, 3)),
        build_driver=lambda _: stand_in(source_keypoints=None, keypoints=lambda motion: None),
        build_composer=lambda picture: stand_in(frames=lambda crops: picture.image[None]),
        crop=CropConfig(),
        whole=True,
        batch_frames=batch_frames,
        device=torch.device("cpu"),
        precision="fp32",
    )
    source = SourceVideo(frames, follower.follow(frames))
    assert sum(len(batch) for batch in renderer.render(source, opening_mouth(n_frames))) == n_frames
    return memory.most


def test_the_number_of_frames_in_memory_does_not_grow_with_the_length_of_the_source(monkeypatch):
    short, long = (count_frames_in_memory(n_frames, 4, monkeypatch) for n_frames in (100, 1000))
    assert long == short <= 50
