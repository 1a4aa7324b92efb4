import dataclasses
from functools import cache

import numpy as np
import pytest
import torch

from joyvasa.animator import Animator
from joyvasa.config import load_config
from joyvasa.errors import ConfigError, InputError
from joyvasa.options import AnimationConfig
from tests.media import EXAMPLES, MEDIA, ffmpeg, read_frames, write_tone

PORTRAIT = EXAMPLES / "portrait.jpg"


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    return write_tone(tmp_path_factory.mktemp("speech") / "speech.wav", seconds=0.2)


@pytest.fixture(scope="module")
def frames_of(tmp_path_factory, speech):
    """Function from settings to the frames of the video, lossless except for yuv420p."""

    @cache
    def animate(*settings: str) -> np.ndarray:
        path = tmp_path_factory.mktemp("video") / "out.mp4"
        given = ["models=random", "encoding.crf=0", "picture.max_side=320", *settings]
        Animator(load_config(AnimationConfig, settings=given)).animate(PORTRAIT, speech, path)
        return read_frames(path).astype(int)

    return animate


def test_the_batch_size_of_frames_does_not_change_the_video(frames_of):
    difference = np.abs(frames_of("batch_frames=1") - frames_of("batch_frames=16"))
    assert difference.max() <= 8  # random weights amplify rounding errors; trained ones do not
    assert difference.mean() < 0.01


def test_without_paste_back_the_video_is_the_crop(frames_of):
    assert frames_of("paste_back=false").shape == (5, 128, 128, 3)


def test_a_face_crop_needs_no_detector(frames_of):
    assert frames_of("face.detector=none").shape == (5, 320, 320, 3)
    assert frames_of("face.detector=none", "paste_back=false").shape == (5, 128, 128, 3)


def test_large_pictures_are_shrunk(frames_of):
    assert frames_of("picture.max_side=256").shape == (5, 256, 256, 3)


HALF_CONVOLUTIONS = pytest.mark.skipif(
    "AVX512" not in torch.backends.cpu.get_cpu_capability(),
    reason="convolutions in half precision take minutes on this processor",
)


@pytest.mark.parametrize("precision", ["bf16", pytest.param("fp16", marks=[pytest.mark.slow, HALF_CONVOLUTIONS])])
def test_reduced_precision_is_near_full_precision(frames_of, precision):
    full, reduced = frames_of("paste_back=false"), frames_of("paste_back=false", f"precision={precision}")
    assert 0 < np.abs(full - reduced).mean() < 6


@pytest.mark.parametrize(
    "setting",
    [
        "seed=5",
        "crop.scale=1.8",
        "sampling.cfg_scale=1",
        "sampling.sampler=ddim",
        "sampling.flexibility=1.0",
        "sampling.dynamic_threshold=[0.9, 0.1, 0.2]",
        "smoothing.method=none",
        "smoothing.method=median",
        "smoothing.method=mean",
        "smoothing.method=kalman",
        "smoothing.ema_weight=0.5",
        "driving.stitching=false",
        "driving.relative=true",
        "driving.region=lip",
        "driving.region=eyes",
        "driving.region=exp",
        "driving.region=pose",
        "driving.multiplier=0.5",
        "driving.keep_scale=true",
        "encoding.crf=40",
    ],
)
def test_every_option_has_an_effect(frames_of, setting):
    assert np.abs(frames_of(setting) - frames_of()).max() > 0


def test_reference_timing_is_three_frames_longer(frames_of):
    assert len(frames_of("sampling.timing=reference")) == len(frames_of()) + 3


def test_networks_load_once_for_many_videos(tmp_path, speech, monkeypatch):
    animator = Animator(AnimationConfig(models="random"))
    animator.animate(PORTRAIT, speech, tmp_path / "first.mp4")
    monkeypatch.setattr(type(animator.bundle), "load_network", None)
    animator.animate(PORTRAIT, speech, tmp_path / "second.mp4")
    assert (tmp_path / "first.mp4").read_bytes() == (tmp_path / "second.mp4").read_bytes()


def test_progress_reaches_the_end_of_each_step(tmp_path, speech):
    calls = []
    animator = Animator(AnimationConfig(models="random"))
    animator.animate(PORTRAIT, speech, tmp_path / "out.mp4", on_progress=lambda *call: calls.append(call))
    assert [call for call in calls if call[1] == call[2]] == [("motion", 1, 1), ("frames", 5, 5)]


@pytest.mark.parametrize(
    "setting",
    ["batch_frames=0", "seed=-1", "sampling.steps=5", "picture.max_side=8", "picture.division=3", "driving.region=ear"],
)
def test_values_out_of_range_are_refused(setting):
    with pytest.raises(ConfigError):
        load_config(AnimationConfig, settings=[setting])


def test_configuration_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        AnimationConfig().seed = 3


@pytest.mark.slow
def test_every_portrait_with_real_speech_becomes_a_video(tmp_path):
    animator = Animator(load_config(AnimationConfig, settings=["picture.max_side=512"]))
    ffmpeg("-i", MEDIA / "speech/joyvasa_002.flac", "-t", 0.8, tmp_path / "speech.wav")
    for picture in sorted((MEDIA / "portraits").iterdir()):
        animation = animator.animate(picture, tmp_path / "speech.wav", tmp_path / "out.mp4")
        assert animation.n_frames == 20
        assert max(animation.width, animation.height) <= 512
        frames = read_frames(tmp_path / "out.mp4").astype(int)
        assert np.abs(frames - frames[0]).max() > 20  # the mouth moves


def test_a_picture_without_a_face_is_refused(tmp_path):
    with pytest.raises(InputError, match="face_not_found"):
        Animator(AnimationConfig(models="random")).animate(
            MEDIA / "animals/s41.jpg", MEDIA / "speech/joyvasa_002.flac", tmp_path / "out.mp4"
        )
