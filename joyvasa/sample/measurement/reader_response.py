"""Response of the readers of a face to motion of known size.

The face mesh and the iris network follow brows, corners of the mouth and lids by a part of their motion only, which
differs between portraits, and read some closed mouths as open. Pictures of the portrait itself, rendered as for
training with a known motion of one part, show by how much, and correct the readings of a video.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from joyvasa.media.image import Image
from joyvasa.motion.openings import COMPACT
from joyvasa.sample.training.head import Expression, Head, mean_head
from joyvasa.sample.training.scene_rendering import render_scene

Array = np.ndarray

CLOSURES = (0.0, 0.15, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of the eyes; 1 is shut
RISES = (-0.3, -0.2, -0.15, -0.1, -0.05, 0.0, 0.05, 0.1, 0.15, 0.2, 0.3)  # of brows, eye distances
SMILES = (-0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4)  # of `Expression`
JAWS = (0.0, 0.03, 0.06, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)  # gap between the lips, eye distances
CORNER_RISE = 0.6  # rise of the corners of the mouth for a smile of 1, eye distances
STEP = 1e-6  # makes a monotone curve strictly monotone


@dataclass(frozen=True)
class ResponseCurve:
    """Readings of a face for known motions; errors that would make the curve fall are leveled."""

    motions: Array  # known motions, ascending, (n,)
    readings: Array  # (n,)

    def correct(self, reading: float) -> float:
        """Return the motion that gives a reading, at most the largest known one."""
        rising = np.maximum.accumulate(self.readings) + STEP * np.arange(len(self.readings))
        return float(np.interp(reading, rising, self.motions))


def measure_responses(
    face: Image, mesh: Array, read: Callable[[list[Image]], Mapping[str, Array]]
) -> dict[str, ResponseCurve]:
    """Return the curves of one portrait.

    Args:
        face: crop of the face, uint8 RGB (N, N, 3).
        mesh: face mesh of the portrait, (468, 3), pixels of the crop.
        read: reader of crops; its readings are named as in `FaceReadings`.

    Returns:
        `eyes`: openings relative to those of the portrait, readings as their ratio; `brows` and `corners`: rise in eye
        distances, readings as their change; `mouth`: height over width of the mouth, by M; `lips`: gap between the lips
        in eye distances, by the face mesh.
    """
    head, person = Head(mesh, mean_head([mesh]), len(face)), np.full(face.shape[:2], 255, np.uint8)
    gap = max(0.0, head.gap)

    def render(expression: Expression) -> Image:
        return render_scene(face, head, expression, head.pose, person=person).picture.astype(np.uint8)

    shut = read([render(Expression(jaw=gap, blink=(value, value))) for value in CLOSURES])["teacher_eyes"].mean(1)
    brows = read([render(Expression(jaw=gap, brow=(value, value))) for value in RISES])["brows"]
    corners = read([render(Expression(jaw=gap, smile=value)) for value in SMILES])["corners"]
    opened = read([render(Expression(jaw=value)) for value in JAWS])
    return {
        "eyes": ResponseCurve(1 - np.array(CLOSURES)[::-1], shut[::-1] / shut[0]),
        "brows": ResponseCurve(np.array(RISES), brows - brows[RISES.index(0.0)]),
        "corners": ResponseCurve(CORNER_RISE * np.array(SMILES), corners - corners[SMILES.index(0.0)]),
        "mouth": ResponseCurve(COMPACT.mouth_slope * np.array(JAWS), opened["mouth"]),
        "lips": ResponseCurve(np.array(JAWS), opened["teacher_mouth"]),
    }
