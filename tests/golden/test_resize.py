import cv2
import numpy as np
import pytest

from joyvasa.media.image import resize_to_limit
from tests.golden.reference import Section

VARIANT = "_cv410" if int(cv2.__version__.split(".")[0]) < 5 else ""


@pytest.fixture(scope="module")
def section() -> Section:
    return Section("resize", VARIANT)


def test_sizes_match(section):
    for height, width, max_side, division, *expected in section.stored["rule"].tolist():
        resized = resize_to_limit(np.zeros((height, width, 3), dtype=np.uint8), max_side, division)
        assert list(resized.shape[:2]) == expected, (height, width, max_side, division)


def test_resized_image_matches(section):
    section.check("image", resize_to_limit(section.input("image")), 0)


def test_the_factor_is_rounded_before_the_size():
    """Sizes of the reference, which computes int(side * (max_side / larger)); 8 % of sizes of 4:3 depend on it."""
    portraits = {(1952, 1464): (1280, 958), (1352, 1014): (1280, 960)}
    for (height, width), expected in portraits.items():
        assert resize_to_limit(np.zeros((height, width, 3), np.uint8)).shape[:2] == expected
        assert resize_to_limit(np.zeros((width, height, 3), np.uint8)).shape[:2] == expected[::-1]


@pytest.mark.parametrize("max_side", [64, 1280])
def test_every_size_is_that_of_the_reference(max_side, monkeypatch):
    seen = []
    monkeypatch.setattr(cv2, "resize", lambda image, size, interpolation: seen.append(size) or image[:2, :2])
    for larger in range(max_side + 1, max_side + 400):
        for smaller in {larger, larger * 3 // 4, larger * 9 // 16, larger * 2 // 3, larger // 2, larger - 1}:
            picture = np.broadcast_to(np.uint8(0), (larger, smaller, 3))
            resize_to_limit(picture, max_side)
            shorter = int(smaller * (max_side / larger))
            assert seen[-1] == ((shorter, max_side) if larger > smaller else (max_side, shorter))
