"""The built-in model, end to end: a portrait of the package speaks with a recording of the package."""

from pathlib import Path

import numpy as np
import pytest
import torch

import manifests
from joyvasa.animator import Animator
from joyvasa.bundles import open_bundle
from joyvasa.config import load_config
from joyvasa.media.video_reader import stream_video
from joyvasa.metrics.blink import count_motion_blinks
from joyvasa.metrics.support.sound import read_soundtrack
from joyvasa.motion.openings import COMPACT, estimate_eye_opening, estimate_mouth_opening
from joyvasa.options import AnimationConfig
from joyvasa.sample.measurement.pose_renderer import PoseRenderer
from joyvasa.sample.measurement.subjects import find_subjects
from joyvasa.sample.networks.points import LEFT_LIDS, RIGHT_LIDS
from tests.media import ffmpeg, write_tone

EXAMPLES = Path(manifests.__file__).parent / "examples"
MAX_BYTES = 25e6


@pytest.fixture(scope="module")
def animator():
    return Animator(load_config(AnimationConfig, settings=["device=cpu", "encoding.crf=12"]))


@pytest.fixture(scope="module")
def talking_video(animator, tmp_path_factory):
    return animator.animate(EXAMPLES / "officer.jpg", EXAMPLES / "speech.flac", tmp_path_factory.mktemp("t") / "o.mp4")


@pytest.fixture(scope="module")
def frames(talking_video):
    return np.concatenate(list(stream_video(talking_video.path, frames_per_second=25))).astype(np.float32)


def box(picture, left, top, right, bottom):
    """Return the index of a region of pictures, in fractions of the face crop."""
    corners = np.array([[left, top], [right, bottom]]) * len(picture.crop.image)
    to_picture = picture.crop.to_original
    (x0, y0), (x1, y1) = (corners @ to_picture[:2, :2].T + to_picture[:2, 2]).round().astype(int)
    return slice(None), slice(y0, y1), slice(x0, x1)


def test_it_is_the_default_model(animator):
    assert animator.bundle.name == "sample"
    assert not animator.bundle.synthetic


def test_it_is_small_freely_licensed_and_documented():
    bundle = open_bundle("sample")
    assert sum(file.stat().st_size for file in bundle.folder.iterdir()) < MAX_BYTES
    assert {license.commercial for license in bundle.get_licenses().values()} == {"yes"}
    assert "## Training" in (bundle.folder / "README.md").read_text(encoding="utf-8")


def test_the_mouth_opens_with_the_sound(talking_video):
    opening = estimate_mouth_opening(talking_video.motion, COMPACT)
    level = np.maximum(read_soundtrack(EXAMPLES / "speech.flac").level, -50)[: len(opening)]
    opening = opening[: len(level)]
    lags = [np.corrcoef(np.roll(opening, -lag)[2:-2], level[2:-2])[0, 1] for lag in range(-2, 3)]
    assert max(lags) > 0.5
    assert np.percentile(opening, 98) > 0.15
    assert np.percentile(opening, 10) < 0.05


def test_the_mouth_opens_in_the_picture(talking_video, frames):
    """Open lips in the motion replace red by teeth and a dark mouth; the wall behind the head does not change."""
    mouth = frames[box(talking_video.picture, 0.46, 0.58, 0.54, 0.68)]
    red = (mouth[..., 0] - mouth[..., 2]).mean((1, 2))
    assert np.corrcoef(red, estimate_mouth_opening(talking_video.motion, COMPACT))[0, 1] < -0.6
    wall = frames[:, :40, -60:]
    assert np.abs(wall - wall[0]).mean() < 0.5


def test_the_identity_of_the_person_is_preserved(talking_video, frames):
    rest = frames[np.argmin(estimate_mouth_opening(talking_video.motion, COMPACT))]
    still = talking_video.picture.image[: frames.shape[1], : frames.shape[2]].astype(np.float32)
    face = box(talking_video.picture, 0.3, 0.3, 0.7, 0.75)[1:]
    assert np.corrcoef(rest[face].ravel(), still[face].ravel())[0, 1] > 0.8


def test_the_mouth_is_closed_in_silence(animator, tmp_path):
    config = load_config(AnimationConfig, settings=["device=cpu", "audio.allow_silence=true"])
    silence = write_tone(tmp_path / "silence.wav", seconds=1.0, volume=1e-4)
    quiet = Animator(config, models=animator.models).animate(EXAMPLES / "portrait.jpg", silence, tmp_path / "quiet.mp4")
    assert np.abs(estimate_mouth_opening(quiet.motion, COMPACT)).max() < 0.05


def test_eyes_blink_and_open_again(animator, tmp_path):
    """Check half a minute of motion without rendering its frames."""
    from joyvasa.media.audio import probe_audio

    long = tmp_path / "long.wav"
    ffmpeg("-stream_loop", 4, "-i", EXAMPLES / "speech.flac", long)
    motion = animator.sample_motions([animator.prepare_recording(long, probe_audio(long), 3)])[0]
    eyes = estimate_eye_opening(motion, COMPACT)
    assert 2 <= count_motion_blinks(eyes, 25.0) <= 25
    assert np.median(eyes) > 0.35


@pytest.mark.parametrize("portrait", ["officer.jpg", "astronaut.jpg"])
def test_closed_lids_meet_in_the_picture(animator, portrait):
    subjects, _ = find_subjects(animator.models, [EXAMPLES / portrait])
    poses, finder = PoseRenderer(animator.models), animator.models.network("motion_extractor").finder

    @torch.inference_mode()
    def opening(blink):
        picture = poses.render(subjects[0], blink=blink)
        points = finder(picture.permute(2, 0, 1)[None].float() / 255)[0][0]
        return min(float(points[below, 1] - points[above, 1]) for above, below in (RIGHT_LIDS, LEFT_LIDS))

    assert opening(1.0) < 0.4 * opening(0.0)
