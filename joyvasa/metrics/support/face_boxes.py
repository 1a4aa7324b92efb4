"""Face detection by S3FD as in the SyncNet protocol: upright boxes and scores, many frames at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from joyvasa.faces.boxes import suppress_overlaps
from joyvasa.media.image import Image

if TYPE_CHECKING:
    from joyvasa.networks.metrics.s3fd import S3fd

FloatArray = NDArray[np.floating]

MEAN_RGB = (123.0, 117.0, 104.0)  # mean of S3FD's training images
CENTER_VARIANCE, SIZE_VARIANCE = 0.1, 0.2  # units of the network's outputs
MAX_CANDIDATES = 5000  # per frame, the best by score
MAX_FACES = 750
SCALE = 0.25  # scale factor of frames in the protocol
# Minimum shorter side of scaled frames, pixels: keeps the protocol's scale for frames of at least 512 pixels; smaller
# frames, in which S3FD would miss faces, are scaled to 128 pixels. Frames are never enlarged.
MIN_SIDE = 128
THRESHOLD = 0.9  # minimum score of a face, 0 to 1
OVERLAP, FINAL_OVERLAP = 0.3, 0.1  # maximum intersection over union of two candidates, and of two faces
BATCH_FRAMES = 16


@dataclass(frozen=True, eq=False)
class FaceBoxFinder:
    """Detects faces in frames."""

    network: S3fd  # S3FD, on `device`
    device: torch.device  # device to compute on

    def find(self, frames: Sequence[Image] | np.ndarray) -> list[FloatArray]:
        """Detect faces in frames of the same size, uint8 RGB (height, width, 3).

        Returns:
            Left, top, right, bottom in pixels and score per frame, float64 (faces, 5), best first.
        """
        batches = [frames[start : start + BATCH_FRAMES] for start in range(0, len(frames), BATCH_FRAMES)]
        return [faces for batch in batches for faces in self._find_in_batch(batch)]

    def _find_in_batch(self, frames: Sequence[Image] | np.ndarray) -> list[FloatArray]:
        height, width = frames[0].shape[:2]
        scale = choose_scale(height, width)
        small = np.stack([cv2.resize(frame, (0, 0), fx=scale, fy=scale) for frame in frames])
        with torch.inference_mode():
            images = torch.from_numpy(small).to(self.device).permute(0, 3, 1, 2).float()
            images -= torch.tensor(MEAN_RGB, device=self.device)[:, None, None]
            locations, scores, priors = self.network(images)
            boxes = decode_boxes(locations, priors).cpu().numpy()
            face_scores = scores[..., 1].cpu().numpy()
        return [self._faces(*pair, height, width) for pair in zip(boxes, face_scores, strict=True)]

    def _faces(self, boxes: FloatArray, scores: FloatArray, height: int, width: int) -> FloatArray:
        # Boxes below the threshold cannot suppress a face, so they are dropped first.
        candidates = select_boxes(boxes, scores, threshold=THRESHOLD, overlap=OVERLAP)
        faces = candidates.astype(np.float64) * (width, height, width, height, 1)
        return faces[suppress_overlaps(faces[:, :4], overlap=FINAL_OVERLAP)]


def choose_scale(height: int, width: int) -> float:
    """Return the scale factor for frames of a size."""
    return min(max(SCALE, MIN_SIDE / min(height, width)), 1.0)


def decode_boxes(locations: torch.Tensor, priors: torch.Tensor) -> torch.Tensor:
    """Convert the offsets predicted by the network, (..., priors, 4), to boxes of that shape.

    They are left, top, right, bottom relative to the size of the picture; `priors` are the prior boxes, (priors, 4).
    """
    centers = priors[:, :2] + locations[..., :2] * CENTER_VARIANCE * priors[:, 2:]
    sizes = priors[:, 2:] * torch.exp(locations[..., 2:] * SIZE_VARIANCE)
    corners = centers - sizes / 2
    return torch.cat([corners, corners + sizes], dim=-1)


def select_boxes(boxes: FloatArray, scores: FloatArray, *, threshold: float = 0.05, overlap: float = 0.3) -> FloatArray:
    """Select boxes with a high score that do not overlap: boxes and scores, (at most 750, 5), best first.

    Args:
        boxes: candidate boxes, shape (priors, 4).
        scores: face scores, shape (priors,).
        threshold: minimum score.
        overlap: maximum intersection over union of two boxes.
    """
    high = np.flatnonzero(scores > threshold)
    best = high[np.argsort(-scores[high], kind="stable")[:MAX_CANDIDATES]]
    boxes, scores = boxes[best], scores[best]
    selected = suppress_overlaps(boxes, overlap=overlap)[:MAX_FACES]
    return np.concatenate([boxes[selected], scores[selected, None]], axis=1)
