import math

import numpy as np
import pytest

from joyvasa.errors import ConfigError, InputError
from joyvasa.faces.geometry import CropConfig, compute_average_square, crop_face
from joyvasa.faces.square import (
    Square,
    compute_crop_matrix,
    compute_face_square,
    compute_reference_points,
    transform_points,
)

# Eyes, nose, corners of the mouth of an upright face.
FIVE = np.array([[80, 100], [120, 100], [100, 120], [88, 140], [112, 140]], dtype=np.float32)


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (240, 320, 3), dtype=np.uint8)


def rotated(points: np.ndarray, degrees: float) -> np.ndarray:
    angle = math.radians(degrees)
    matrix = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return ((points - points.mean(axis=0)) @ matrix.T + [160, 120]).astype(np.float32)


@pytest.mark.parametrize("degrees", [-170, -90, -30, 0, 15, 60, 120])
def test_the_face_is_upright_in_the_crop_for_every_roll(picture, degrees):
    crop = crop_face(picture, rotated(FIVE, degrees))
    np.testing.assert_allclose(crop.landmarks[0, 1], crop.landmarks[1, 1], atol=0.01)
    assert crop.landmarks[0, 0] < crop.landmarks[1, 0]
    assert crop.landmarks[3, 1] > crop.landmarks[0, 1]


def test_crop_and_original_are_inverse_mappings(picture):
    points = rotated(FIVE, 25)
    crop = crop_face(picture, points)
    np.testing.assert_allclose(transform_points(crop.landmarks, crop.to_original), points, atol=1e-3)
    np.testing.assert_allclose(crop.to_original @ crop.to_crop, np.eye(3), atol=1e-4)


def test_published_values_are_the_defaults():
    assert CropConfig() == CropConfig(scale=2.3, vx_ratio=0.0, vy_ratio=-0.125, size=512, rotate=True)


def test_scale_and_shifts_move_the_square_along_the_axes_of_the_face():
    upright = compute_face_square(FIVE, scale=2.0)
    assert upright.side == pytest.approx(80)
    assert upright.center == pytest.approx((100, 120))
    shifted = compute_face_square(FIVE, scale=2.0, vx_ratio=0.1, vy_ratio=-0.25)
    assert shifted.center == pytest.approx((108, 100))
    # Rotated clockwise by 90 degrees: downwards in the face is to the left in the picture.
    shifted = compute_face_square(rotated(FIVE, 90), scale=2.0, vx_ratio=0.1, vy_ratio=-0.25)
    assert shifted.center == pytest.approx((180, 128), abs=1e-3)
    assert math.degrees(shifted.angle) == pytest.approx(90)


def test_vx_ratio_moves_the_crop(picture):
    plain = crop_face(picture, FIVE)
    shifted = crop_face(picture, FIVE, CropConfig(vx_ratio=0.1))
    np.testing.assert_allclose(shifted.landmarks, plain.landmarks - [51.2, 0], atol=1e-2)


def test_square_can_be_built_on_a_wider_outline():
    outline = np.array([[60, 90], [140, 90], [60, 170], [140, 170]], dtype=np.float32)
    square = compute_face_square(FIVE, scale=1.0, extent=outline)
    assert square.side == pytest.approx(80)
    assert square.center == pytest.approx((100, 130))


def test_without_the_mouth_the_eyes_give_the_axes():
    open_mouth = FIVE.copy()
    open_mouth[3:] += [25, 30]
    first, second = compute_reference_points(open_mouth, use_lip=False)
    np.testing.assert_allclose(second - first, [0, 40], atol=1e-4)
    assert compute_face_square(open_mouth, scale=1.0, use_lip=False).angle == pytest.approx(0)


def test_points_on_one_line_count_as_upright():
    flat = np.array([[0, 0], [20, 0], [10, 0], [8, 0], [12, 0]], dtype=np.float32)
    assert compute_face_square(flat, scale=1.0).angle == 0


def test_more_than_101_points_of_an_unknown_layout_use_the_first_101():
    points = np.random.default_rng(0).random((150, 2)).astype(np.float32)
    np.testing.assert_array_equal(compute_reference_points(points), compute_reference_points(points[:101]))


def test_unknown_layout_is_refused():
    with pytest.raises(ConfigError, match=r"landmark_layout: 7 landmarks found; expected one of 5, 9"):
        compute_reference_points(np.zeros((7, 2)))


def test_face_without_extent_is_refused(picture):
    with pytest.raises(InputError, match="face_too_small"):
        crop_face(picture, np.full((5, 2), 50.0))


@pytest.mark.parametrize(
    "values", [{"scale": 0}, {"scale": float("nan")}, {"vx_ratio": 3.0}, {"vy_ratio": float("inf")}, {"size": 0}]
)
def test_impossible_crops_are_refused(values):
    with pytest.raises(ConfigError, match="crop_"):
        CropConfig(**values)


def test_crop_inside_the_picture_has_nothing_outside(picture):
    crop = crop_face(picture, rotated(FIVE, 0), CropConfig(scale=1.5))
    assert crop.outside_fraction == pytest.approx(0, abs=1e-6)
    assert (crop.image > 0).all()


@pytest.mark.parametrize("degrees", [0, 30])
def test_pixels_outside_the_picture_are_black_and_counted(picture, degrees):
    points = rotated(FIVE, degrees) - [150, 110]
    crop = crop_face(picture, points.astype(np.float32))
    black = (crop.image == 0).all(axis=2).mean()
    assert crop.outside_fraction > 0.2
    assert crop.outside_fraction == pytest.approx(black, abs=0.02)


def test_a_face_outside_the_picture_is_all_black(picture):
    crop = crop_face(picture, FIVE + 2000)
    assert crop.outside_fraction == 1
    assert not crop.image.any()


def test_a_crop_of_another_size_shows_the_same_part(picture):
    large, small = crop_face(picture, FIVE), crop_face(picture, FIVE, CropConfig(size=256))
    np.testing.assert_allclose(small.landmarks * 2, large.landmarks, atol=0.01)


def test_the_mean_square_of_frames_is_upright():
    frames = (FIVE, FIVE + np.float32(10), rotated(FIVE, 0))
    square = compute_average_square([compute_face_square(landmarks, scale=2.2) for landmarks in frames])
    assert square.angle == 0
    assert square.side == pytest.approx(40 * 2.2)
    with pytest.raises(ConfigError, match="no_frames"):
        compute_average_square([])


def test_corners_of_a_square_map_onto_the_corners_of_the_crop():
    square = Square((100.0, 80.0), 60.0, 0.4)
    corners = transform_points(square.corners, compute_crop_matrix(square, 512))
    np.testing.assert_allclose(corners, [[0, 0], [512, 0], [512, 512], [0, 512]], atol=1e-2)
