from pathlib import Path

import cv2
import numpy as np
import pytest

from joyvasa.sample.measurement.teeth import TeethColor, format_row, read_teeth
from joyvasa.sample.training.face_mesh import LEFT_EYE, RIGHT_EYE
from joyvasa.sample.training.mesh_points import N_POINTS, load_mesh_points

SKIN, DARK, WHITE, LIP = (200, 140, 110), (40, 15, 15), (210, 180, 165), (190, 90, 90)


def draw_face(gap: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw skin and an open mouth whose upper fifth are teeth; return it with its mesh."""
    points, mesh = np.zeros((N_POINTS, 3)), load_mesh_points()
    points[LEFT_EYE, :2], points[RIGHT_EYE, :2] = (150, 60), (50, 60)
    points[mesh.cheeks, :2] = [(40, 100), (160, 100), (60, 120), (140, 120)]
    for ring, y in ((mesh.lips_upper[0], 140), (mesh.lips_lower[0], 140 + 100 * gap)):
        points[ring, 0], points[ring, 1] = np.linspace(60, 140, 11), y
    image = np.full((200, 200, 3), SKIN, np.uint8)
    cv2.rectangle(image, (50, 130), (150, 150 + round(100 * gap)), LIP, -1)
    cv2.rectangle(image, (60, 140), (140, 140 + round(100 * gap)), DARK, -1)
    cv2.rectangle(image, (60, 140), (140, 140 + round(20 * gap)), WHITE, -1)
    return image, points


def test_teeth_and_cheeks_are_read_from_an_open_mouth():
    color = read_teeth(*draw_face(gap=0.3))
    assert color is not None
    assert color.teeth == pytest.approx(WHITE)
    assert color.cheeks == pytest.approx(SKIN)


def test_a_mouth_that_is_hardly_open_shows_no_teeth():
    assert read_teeth(*draw_face(gap=0.05)) is None


def test_a_row_has_medians_relative_to_the_cheeks():
    colors = [TeethColor(np.array(teeth), np.array([100.0, 80.0, 60.0])) for teeth in ([90, 60, 60], [120, 80, 80.0])]
    assert format_row(Path("a.mp4"), colors) == "| a | 2 | 1.02 | 1.50 | 1.25 |"
    assert format_row(Path("b.mp4"), []) == "| b | 0 | | | |"
