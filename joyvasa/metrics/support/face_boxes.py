"""Face detection by S3FD as in the SyncNet protocol: upright boxes and scores, many frames at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from joyvasa.errors import ConfigError
from joyvasa.faces.boxes import suppress_overlaps
from joyvasa.media.image import Image

if TYPE_CHECKING:
    from joyvasa.networks.metrics.s3fd import S3fd

FloatArray = NDArray[np.floating]

MEAN_RGB = (123.0, 117.0, 104.0)  # mean of S3FD's training images
CENTER_VARIANCE, SIZE_VARIANCE = 0.1, 0.2  # units of the network's outputs
MAX_CANDIDATES = 5000  # per frame, the best by score
MAX_FACES = 750


@dataclass(frozen=True, kw_only=True)
class FaceBoxConfig:
    """Options of face detection.

    Raises:
        ConfigError: `face_boxes`, a value is out of range.
    """

    scale: float = 0.25  # scale factor of frames; the protocol uses 0.25
    # minimum shorter side of scaled frames, pixels. The default keeps the protocol's scale for frames of at least 512
    # pixels; smaller frames, in which S3FD would miss faces, are scaled to 128 pixels. Frames are never enlarged.
    min_side: int = 128
    threshold: float = 0.9  # minimum score of a face, 0 to 1
    overlap: float = 0.3  # maximum intersection over union of two candidates
    final_overlap: float = 0.1  # maximum intersection over union of two faces
    batch_frames: int = 16  # batch size of the network

    def __post_init__(self) -> None:
        parts = (self.scale, self.threshold, self.overlap, self.final_overlap)
        if not (all(0 < part <= 1 for part in parts) and self.min_side >= 1 and self.batch_frames >= 1):
            expected = "scale, threshold and overlaps above 0 and at most 1, min_side and batch_frames from 1"
            raise ConfigError("face_boxes", f"{self} found; expected {expected}: correct the value")

    def scale_for(self, height: int, width: int) -> float:
        """Return the scale factor for frames of a size."""
        return min(max(self.scale, self.min_side / min(height, width)), 1.0)


class FaceBoxFinder:
    """Detects faces in frames.

    Args:
        network: S3FD, on `device`.
        device: device to compute on.
        config: options of face detection; None follows the protocol.
    """

    def __init__(self, network: S3fd, device: torch.device, config: FaceBoxConfig | None = None) -> None:
        self._network = network
        self._device = device
        self._config = config or FaceBoxConfig()

    def find(self, frames: Sequence[Image] | np.ndarray) -> list[FloatArray]:
        """Detect faces.

        Args:
            frames: frames of the same size, uint8 RGB (height, width, 3).

        Returns:
            Left, top, right, bottom in pixels and score per frame, float64 (faces, 5), best first.
        """
        size = self._config.batch_frames
        batches = [frames[start : start + size] for start in range(0, len(frames), size)]
        return [faces for batch in batches for faces in self._find_in_batch(batch)]

    def _find_in_batch(self, frames: Sequence[Image] | np.ndarray) -> list[FloatArray]:
        height, width = frames[0].shape[:2]
        scale = self._config.scale_for(height, width)
        small = np.stack([cv2.resize(frame, (0, 0), fx=scale, fy=scale) for frame in frames])
        with torch.inference_mode():
            images = torch.from_numpy(small).to(self._device).permute(0, 3, 1, 2).float()
            images -= torch.tensor(MEAN_RGB, device=self._device)[:, None, None]
            locations, scores, priors = self._network(images)
            boxes = decode_boxes(locations, priors).cpu().numpy()
            face_scores = scores[..., 1].cpu().numpy()
        return [self._faces(*pair, height, width) for pair in zip(boxes, face_scores, strict=True)]

    def _faces(self, boxes: FloatArray, scores: FloatArray, height: int, width: int) -> FloatArray:
        # Boxes below the threshold cannot suppress a face, so they are dropped first.
        candidates = select_boxes(boxes, scores, threshold=self._config.threshold, overlap=self._config.overlap)
        faces = candidates.astype(np.float64) * (width, height, width, height, 1)
        return faces[suppress_overlaps(faces[:, :4], overlap=self._config.final_overlap)]


def decode_boxes(locations: torch.Tensor, priors: torch.Tensor) -> torch.Tensor:
    """Convert the offsets predicted by the network to boxes.

    Args:
        locations: predicted offsets, shape (..., priors, 4).
        priors: prior boxes of the network, shape (priors, 4).

    Returns:
        Left, top, right, bottom relative to the size of the picture, shape (..., priors, 4).
    """
    centers = priors[:, :2] + locations[..., :2] * CENTER_VARIANCE * priors[:, 2:]
    sizes = priors[:, 2:] * torch.exp(locations[..., 2:] * SIZE_VARIANCE)
    corners = centers - sizes / 2
    return torch.cat([corners, corners + sizes], dim=-1)


def select_boxes(boxes: FloatArray, scores: FloatArray, *, threshold: float = 0.05, overlap: float = 0.3) -> FloatArray:
    """Select boxes with a high score that do not overlap.

    Args:
        boxes: candidate boxes, shape (priors, 4).
        scores: face scores, shape (priors,).
        threshold: minimum score.
        overlap: maximum intersection over union of two boxes.

    Returns:
        Boxes and scores, shape (at most 750, 5), best first.
    """
    high = np.flatnonzero(scores > threshold)
    best = high[np.argsort(-scores[high], kind="stable")[:MAX_CANDIDATES]]
    boxes, scores = boxes[best], scores[best]
    selected = suppress_overlaps(boxes, overlap=overlap)[:MAX_FACES]
    return np.concatenate([boxes[selected], scores[selected, None]], axis=1)
