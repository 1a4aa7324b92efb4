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
