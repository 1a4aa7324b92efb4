import math

import cv2
import numpy as np
import pytest

from joyvasa.errors import ConfigError
from joyvasa.faces.paster import Paster, create_blend_mask
from joyvasa.faces.square import Square, compute_crop_matrix
from tests.joyvasa.faces.pictures import SQUARES, noise


def paste_over_whole_picture(picture: np.ndarray, frame: np.ndarray, to_original: np.ndarray) -> np.ndarray:
    """Apply the published formula to every pixel of the picture."""
    size = (picture.shape[1], picture.shape[0])
    template = np.repeat(create_blend_mask()[..., None], 3, axis=2)
    mask = cv2.warpAffine(template, to_original[:2], size).astype(np.float32) / 255
    warped = cv2.warpAffine(frame, to_original[:2], size)
    return np.clip(mask * warped + (1 - mask) * picture, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("square", SQUARES.values(), ids=SQUARES.keys())
def test_pasting_the_rectangle_equals_pasting_over_the_whole_picture(square):
    picture, frames = noise(480, 640), np.stack([noise(512, 512, 1), noise(512, 512, 2)])
    to_original = np.linalg.inv(compute_crop_matrix(square, 512))
    pasted = Paster(picture=picture, to_original=to_original).paste(frames)
    for frame, actual in zip(frames, pasted, strict=True):
        np.testing.assert_array_equal(actual, paste_over_whole_picture(picture, frame, to_original))


def test_only_the_rectangle_changes():
    picture = noise(480, 640)
    paster = Paster(picture=picture, to_original=np.linalg.inv(compute_crop_matrix(SQUARES["turned"], 512)))
    left, top, right, bottom = paster.rectangle
    assert (right - left) * (bottom - top) < 0.5 * 480 * 640
    pasted = paster.paste(noise(512, 512, 1)[None])[0]
    changed = (pasted != picture).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert left <= columns.min() <= left + 3
    assert right - 3 <= columns.max() + 1 <= right
    assert top <= rows.min() <= top + 3
    assert bottom - 3 <= rows.max() + 1 <= bottom
    np.testing.assert_array_equal(paster.picture, noise(480, 640))


@pytest.mark.parametrize("side", [256, 1024])
def test_frames_of_another_size_are_pasted_at_the_same_position(side):
    y, x = np.mgrid[0:512, 0:512].astype(np.float32)
    ramps = np.stack([x / 2, y / 2, (x + y) / 4], axis=-1)
    picture = np.zeros((480, 640, 3), dtype=np.uint8)
    paster = Paster(picture=picture, to_original=np.linalg.inv(compute_crop_matrix(SQUARES["turned"], 512)))
    frame = ramps.astype(np.uint8)
    expected = paster.paste(frame[None])[0].astype(int)
    resized = cv2.resize(frame, (side, side), interpolation=cv2.INTER_LINEAR)
    actual = paster.paste(resized[None])[0].astype(int)
    inner = cv2.erode((expected.sum(axis=2) > 0).astype(np.uint8), np.ones((41, 41))) > 0
    assert np.abs(expected - actual)[inner].max() <= 2


def test_frame_of_one_color_keeps_it_inside_and_fades_at_the_edge():
    picture = np.full((600, 600, 3), 10, dtype=np.uint8)
    to_original = np.linalg.inv(compute_crop_matrix(Square((300.0, 300.0), 512.0, 0.0), 512))
    pasted = Paster(picture=picture, to_original=to_original).paste(np.full((1, 512, 512, 3), 200, np.uint8))[0]
    assert (pasted[64:536, 64:536] == 200).all()
    assert (pasted[:40] == 10).all()
    profile = pasted[300, 44:70, 0].astype(int)
    assert (np.diff(profile) >= 0).all()
    assert len(np.unique(profile)) > 10


def test_a_square_outside_the_picture_is_refused():
    to_original = np.linalg.inv(compute_crop_matrix(Square((2000.0, 300.0), 200.0, 0.3), 512))
    with pytest.raises(ConfigError, match="paste_outside"):
        Paster(picture=noise(100, 200), to_original=to_original)


@pytest.mark.parametrize("shape", [(512, 512, 3), (1, 256, 512, 3), (1, 512, 512, 4)])
def test_frames_that_are_not_square_pictures_are_refused(shape):
    paster = Paster(picture=noise(480, 640), to_original=np.linalg.inv(compute_crop_matrix(SQUARES["upright"], 512)))
    with pytest.raises(ConfigError, match="paste_shape"):
        paster.paste(np.zeros(shape, dtype=np.uint8))


def test_mask_is_opaque_inside_and_transparent_at_the_border():
    mask = create_blend_mask()
    assert (mask[16:497, 16:497] == 255).all()
    assert (mask[0] == 0).all()
    assert mask[256, 8] == math.floor(255 * 8 / 16)


def test_a_crop_beyond_the_border_causes_no_dark_line():
    picture = np.full((300, 200, 3), 200, np.uint8)
    to_original = np.array([[0.5, 0, -40], [0, 0.5, 40], [0, 0, 1]])  # 40 pixels of the crop are left of the picture
    crop = cv2.warpAffine(picture, np.linalg.inv(to_original)[:2], (512, 512), flags=cv2.INTER_LINEAR)
    rendered = cv2.GaussianBlur(cv2.resize(crop, (256, 256), interpolation=cv2.INTER_AREA), (0, 0), 0.7)
    rendered[100:120, 100:120] = 90  # part of the face, which must be pasted
    pasted = Paster(picture=picture, to_original=to_original).paste(rendered[None])[0]
    assert pasted[:, :20].min() >= 190
    assert (pasted == 90).any()
    large = cv2.resize(rendered, (512, 512))
    assert Paster(picture=picture, to_original=to_original).paste(large[None])[0][:, :20].min() < 190
