import cv2
import numpy as np
import pytest

from joyvasa.faces.geometry import CropConfig, compute_average_square, crop_face, crop_square
from joyvasa.faces.paster import Paster, create_blend_mask
from joyvasa.faces.square import compute_face_square, compute_reference_points, transform_points
from joyvasa.networks.pictures import to_network_input, to_uint8
from tests.golden.reference import Section, landmarks_of

LAYOUTS = (5, 9, 68, 101, 106, 203)
# Images were warped by OpenCV 4.10 and 5.0, whose fixed-point arithmetic differs.
VARIANT = "_cv410" if int(cv2.__version__.split(".")[0]) < 5 else ""


@pytest.fixture(scope="module")
def section() -> Section:
    return Section("crop", VARIANT)


def check_image(section: Section, name: str, actual: np.ndarray, level: float = 1) -> None:
    section.check(name, actual, 0, absolute=4 * level)
    stride = section.stored[f"{name}__meta"][0]
    difference = np.abs(actual.ravel()[::stride].astype(float) - section.stored[f"{name}__sub"])
    assert difference.mean() <= 0.1 * level


@pytest.mark.parametrize("count", LAYOUTS)
def test_reference_points_match(section, count):
    landmarks = landmarks_of(section, count)
    section.check(f"pt2_{count}_lip1", compute_reference_points(landmarks), 1e-5)
    section.check(f"pt2_{count}_lip0", compute_reference_points(landmarks, use_lip=False), 1e-5)


@pytest.mark.parametrize("count", LAYOUTS)
def test_squares_match(section, count):
    landmarks = landmarks_of(section, count)
    square = compute_face_square(landmarks, scale=2.3, vx_ratio=0.1, vy_ratio=-0.125)
    section.check(f"rect_{count}", [*square.center, square.side, square.side, square.angle], 1e-5)
    square = compute_face_square(landmarks, scale=2.2, vy_ratio=-0.1)
    left, top, right, bottom = square.box
    section.check(f"bbox_{count}", [[left, top], [right, top], [right, bottom], [left, bottom]], 1e-5)
    section.check(f"bbox_rot_{count}", square.corners, 1e-5)


@pytest.mark.parametrize("rotate", [True, False])
@pytest.mark.parametrize("count", LAYOUTS)
def test_crops_match(section, count, rotate):
    crop = crop_face(section.input("image"), landmarks_of(section, count), CropConfig(rotate=rotate))
    name = f"crop_{count}_rot{int(rotate)}"
    section.check(f"{name}_M_o2c", crop.to_crop, 1e-5)
    section.check(f"{name}_M_c2o", crop.to_original, 1e-5)
    section.check(f"{name}_pt_crop", crop.landmarks, 0, absolute=1e-3)
    if f"{name}_img__sub" in section.stored:
        check_image(section, f"{name}_img", crop.image)
        check_image(section, f"{name}_img256", to_uint8(to_network_input(crop.image, 256))[0].numpy())


def test_the_crop_uses_vx_ratio_which_the_reference_ignores(section):
    # The stored crops were computed with a vx of 0.07, which the reference ignores.
    landmarks = landmarks_of(section, 106)
    section.check("crop_106_rot1_M_o2c", crop_face(section.input("image"), landmarks).to_crop, 1e-5)
    shifted = crop_face(section.input("image"), landmarks, CropConfig(vx_ratio=0.07))
    with pytest.raises(AssertionError):
        section.check("crop_106_rot1_M_o2c", shifted.to_crop, 1e-5)


def test_averaged_square_of_several_frames_matches(section):
    # The stored box is the mean over frames whose landmarks drift by 1.5 pixels on average.
    first = landmarks_of(section, 203, 1)
    # 2.2 and -0.1 are the published values for driving videos.
    square = compute_average_square(
        [compute_face_square(points, scale=2.2, vy_ratio=-0.1) for points in (first, first + 3)]
    )
    section.check("avg_bbox", square.box, 1e-5)
    crop = crop_square(section.input("image"), square, 512, landmarks=first)
    section.check("bycrop_M_o2c", crop.to_crop, 1e-5)
    section.check("bycrop_M_c2o", crop.to_original, 1e-5)
    section.check("bycrop_lmk_crop", transform_points(first, crop.to_crop), 0, absolute=1e-3)
    check_image(section, "bycrop_img", crop.image)


def test_mask_matches(section):
    section.check("mask_template", np.repeat(create_blend_mask()[..., None], 3, axis=2), 0)


def test_pasted_image_matches(section):
    crop = crop_face(section.input("image"), landmarks_of(section, 106, 1))
    section.check("paste_M_c2o", crop.to_original, 1e-5)
    paster = Paster(picture=section.input("image"), to_original=section.stored["paste_M_c2o"])
    check_image(section, "paste_result", paster.paste(section.input("generated")[None])[0])
    # Pasting a black frame into a white image gives the inverted mask.
    white = Paster(picture=np.full_like(section.input("image"), 255), to_original=section.stored["paste_M_c2o"])
    mask = 1 - white.paste(np.zeros((1, 512, 512, 3), dtype=np.uint8))[0] / np.float32(255)
    check_image(section, "paste_mask", mask, level=1 / 255)
