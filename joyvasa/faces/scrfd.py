"""SCRFD face detection: the arithmetic around InsightFace's `det_10g.onnx` (arXiv:2105.04714).

The network is called with a fixed square input and returns, per stride, scores, boxes and five keypoints for two
anchors in every cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from joyvasa.media.image import Image

FloatArray = NDArray[np.floating]

STRIDES = (8, 16, 32)
ANCHORS_PER_CELL = 2


@dataclass(frozen=True, eq=False)
class Detections:
    """Faces found in a picture, in its pixels.

    Args:
        boxes: float32 (faces, 4), left, top, right, bottom.
        scores: float32 (faces,), 0 to 1.
        keypoints: float32 (faces, 5, 2): the eyes, the nose, the corners of the mouth.
    """

    boxes: FloatArray
    scores: FloatArray
    keypoints: FloatArray

    def __len__(self) -> int:
        return len(self.boxes)

    def take(self, indices: NDArray[np.integer]) -> Detections:
        """The faces of the given indices, in their order."""
        return Detections(self.boxes[indices], self.scores[indices], self.keypoints[indices])


def letterbox(image: Image, side: int = 512) -> tuple[FloatArray, float]:
    """Shrinks or enlarges a picture into the top left of a black square.

    Args:
        image: uint8 RGB (height, width, 3).
        side: of the network's input, pixels.

    Returns:
        The network's input, float32 (1, 3, side, side) from -1 to 1, and the factor the picture was resized by.
    """
    height, width = image.shape[:2]
    if height > width:
        new_height, new_width = side, int(side * width / height)
    else:
        new_height, new_width = int(side * height / width), side
    size = (max(new_width, 1), max(new_height, 1))
    square = np.zeros((side, side, 3), dtype=np.uint8)
    square[: size[1], : size[0]] = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    blob = (square.astype(np.float32) - 127.5) / 128
    return np.ascontiguousarray(blob.transpose(2, 0, 1)[None]), size[1] / height


def decode(outputs: Sequence[FloatArray], *, side: int, factor: float, threshold: float) -> Detections:
    """Turns the network's nine outputs into boxes.

    Args:
        outputs: scores, boxes, keypoints, each for strides 8, 16, 32; shapes ([1,] anchors, 1 | 4 | 10).
        side: of the network's input, pixels.
        factor: what the picture was resized by.
        threshold: lowest score that counts.

    Returns:
        All candidates, best score first.
    """
    boxes, scores, keypoints = [], [], []
    levels = len(STRIDES)
    for level, stride in enumerate(STRIDES):
        score, distance, offset = (outputs[level + kind * levels] for kind in range(3))
        cells = np.arange(-(-side // stride), dtype=np.float32) * stride
        centres = np.stack(np.meshgrid(cells, cells), axis=-1).reshape(-1, 2).repeat(ANCHORS_PER_CELL, axis=0)
        score = score.reshape(-1)
        kept = np.nonzero(score >= threshold)[0]
        centres = centres[kept]
        distance = distance.reshape(-1, 4)[kept] * stride
        boxes.append(np.concatenate([centres - distance[:, :2], centres + distance[:, 2:]], axis=1))
        keypoints.append(centres[:, None] + offset.reshape(-1, 5, 2)[kept] * stride)
        scores.append(score[kept])
    found = Detections(
        (np.concatenate(boxes) / factor).astype(np.float32),
        np.concatenate(scores),
        (np.concatenate(keypoints) / factor).astype(np.float32),
    )
    return found.take(np.argsort(found.scores, kind="stable")[::-1])


def suppress(boxes: FloatArray, *, overlap: float = 0.4) -> NDArray[np.integer]:
    """Non-maximum suppression, areas counted with both edge pixels.

    Args:
        boxes: (faces, 4), best first.
        overlap: largest intersection over union that two faces may have.

    Returns:
        Indices of the boxes that stay, best first.
    """
    left, top, right, bottom = boxes.T
    areas = (right - left + 1) * (bottom - top + 1)
    order = np.arange(len(boxes))
    kept = []
    while order.size:
        best, rest = order[0], order[1:]
        kept.append(best)
        width = np.minimum(right[best], right[rest]) - np.maximum(left[best], left[rest]) + 1
        height = np.minimum(bottom[best], bottom[rest]) - np.maximum(top[best], top[rest]) + 1
        common = np.maximum(width, 0) * np.maximum(height, 0)
        order = rest[common / (areas[best] + areas[rest] - common) <= overlap]
    return np.array(kept, dtype=np.intp)


def keep_central(found: Detections, shape: tuple[int, ...], limit: int) -> Detections:
    """Keeps the faces with the best area minus twice the squared distance from the picture's centre.

    Args:
        found: any number of faces.
        shape: height and width of the picture.
        limit: how many to keep; 0: all, in the order given.

    Returns:
        At most `limit` faces, best first.
    """
    if limit <= 0 or len(found) <= limit:
        return found
    boxes = found.boxes
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    centre = np.array([shape[1] // 2, shape[0] // 2])
    distances = (((boxes[:, :2] + boxes[:, 2:]) / 2 - centre) ** 2).sum(axis=1)
    return found.take(np.argsort(areas - 2 * distances, kind="stable")[::-1][:limit])
