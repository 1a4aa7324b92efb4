"""Recordings are cropped as driving videos: one box for all frames."""

import numpy as np

from joyvasa.faces.detection import Face
from joyvasa.faces.tracking import FaceDetections, average_clip_square, track_face
from tests.golden.reference import Section, landmarks_of


def test_the_square_of_a_clip_is_the_mean_box():
    section = Section("crop")
    first = landmarks_of(section, 203, 1)
    box = np.array([*first.min(axis=0), *first.max(axis=0)], np.float32)
    looks = [FaceDetections.from_faces(at, [Face(box, 1.0, first + 3 * at)], min_side=1) for at in range(2)]
    square = average_clip_square(track_face(looks, max_gap=5))
    section.check("avg_bbox", square.box, 1e-5)
