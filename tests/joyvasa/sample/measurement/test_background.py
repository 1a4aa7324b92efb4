import cv2
import numpy as np
import pytest

from joyvasa.media.video_reader import stream_video
from joyvasa.media.video_writer import EncodingConfig, VideoWriter
from joyvasa.sample.measurement import background
from joyvasa.sample.measurement.background import SIDE, Background

N_FRAMES = 20


@pytest.fixture
def scene():
    """Picture with a textured wall behind a reddish head, and the mask of the head."""
    r = np.random.default_rng(0)
    grain = cv2.GaussianBlur(r.uniform(0, 255, (SIDE, SIDE)).astype(np.float32), (0, 0), 2.5)
    wall = ((grain - grain.min()) / np.ptp(grain) * 120 + 60)[..., None] * [0.7, 0.9, 1.0]
    head = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(head, (128, 135), (60, 80), 0, 0, 360, 1, -1)
    face = np.where(head[..., None], r.normal([215, 120, 90], 4, wall.shape), wall)
    return face.clip(0, 255).astype(np.uint8), head.astype(bool)


def write_video(path, frames, **encoding):
    config, n_frames = EncodingConfig(**encoding), len(frames)
    with VideoWriter(path, width=SIDE, height=SIDE, frames_per_second=25, n_frames=n_frames, config=config) as writer:
        writer.write(np.stack(frames))
    return path


def test_the_background_excludes_the_person_and_its_surroundings(scene):
    _, head = scene
    mask = background.background_mask(head.astype(np.float32))
    assert not mask[head].any()
    assert mask[~head].mean() > 0.6
    near = cv2.dilate(head.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    assert not mask[near].any()


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_motion_of_the_background_is_measured_in_pixels(tmp_path, scene, shift):
    picture, head = scene
    region = Background((0, 0, SIDE, SIDE), background.background_mask(head), picture)
    moved = cv2.warpAffine(
        picture, np.array([[1.0, 0, shift], [0, 1.0, 0]]), (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT
    )
    motion, _ = background._track_background(write_video(tmp_path / "film.mp4", [moved] * N_FRAMES), region, picture)
    assert motion == pytest.approx(shift, abs=0.4)


def test_constant_displacement_by_compression_is_not_motion(tmp_path, scene, monkeypatch):
    picture, head = scene
    soft = cv2.GaussianBlur(picture, (0, 0), 3)
    region = Background((0, 0, SIDE, SIDE), background.background_mask(head), soft)
    coarse = write_video(tmp_path / "film.mp4", [soft] * N_FRAMES, crf=38)
    monkeypatch.setattr(background, "CORNER_STRENGTH", 0)
    first = next(iter(stream_video(coarse)))[0]
    assert background._track_background(coarse, region, soft)[0] > 1
    assert background._track_background(coarse, region, first)[0] < 0.5


def test_a_flickering_background_differs_more_than_a_still_one(tmp_path, scene):
    picture, head = scene
    region = Background((0, 0, SIDE, SIDE), background.background_mask(head), picture)
    brighter = (picture * 0.9 + 20).astype(np.uint8)
    _, calm = background._track_background(write_video(tmp_path / "calm.mp4", [picture] * N_FRAMES), region, picture)
    _, wild = background._track_background(
        write_video(tmp_path / "wild.mp4", [picture, brighter] * (N_FRAMES // 2)), region, picture
    )
    assert len(calm) == len(wild) == N_FRAMES - 1
    assert wild.mean() > 5 > 1 > calm.mean()
