"""Training of M, the motion extractor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from joyvasa.sample.networks.motion_extractor import CompactMotionExtractorConfig, KeypointFinder
from joyvasa.sample.networks.points import INNER_LOWER_LIP, INNER_UPPER_LIP, KEYPOINTS, LEFT_LIDS, LIPS, RIGHT_LIDS
from joyvasa.sample.training.pairs import PairSampler, channels_first, to_keypoint_units
from joyvasa.sample.training.training_loop import Batch, TrainingTask
from joyvasa.sample.training.training_media import SIZE, TrainingClip, TrainingPortrait

BATCH = 12
SOURCES = 0.4  # share of pairs whose source is used in addition to the target
MOUSTACHES = 0.3  # share of rendered pairs with a moustache, which M would else read as a dark mouth
GAPS = ((INNER_UPPER_LIP, INNER_LOWER_LIP), RIGHT_LIDS, LEFT_LIDS)  # distances that need subpixel accuracy


class KeypointsTask(TrainingTask):
    """Task whose loss compares keypoints, and the openings of mouth and eyes, with those of the teacher.

    Args:
        portraits, clips, mean: see `PairSampler`.
    """

    name = "keypoints"

    def __init__(self, portraits: Sequence[TrainingPortrait], clips: Sequence[TrainingClip], mean: np.ndarray) -> None:
        self.data = portraits, clips, mean
        self.network = KeypointFinder(CompactMotionExtractorConfig())
        weights = torch.ones(KEYPOINTS)
        weights[[*LIPS, *RIGHT_LIDS, *LEFT_LIDS]] = 2
        self._weights = weights

    @staticmethod
    def draw_batches(*data: Any, seed: int) -> Iterator[Batch]:
        """Yield batches of pictures and keypoints."""
        # Enlarged and blank eyes would teach M to read shut eyes behind glasses as open.
        sampler = PairSampler(*data, seed=seed, augment_eyes=False, moustaches=MOUSTACHES)
        samples = _draw_samples(sampler, np.random.default_rng(seed + 1))
        while True:
            pictures, points = zip(*(next(samples) for _ in range(BATCH)), strict=True)
            yield channels_first(pictures), np.stack(points).astype(np.float32)

    def loss(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, dict[str, float]]:
        """Return the weighted sum of position, depth and opening losses."""
        pictures, points = batch
        with torch.autocast(pictures.device.type, torch.bfloat16):
            near, far = self.network(pictures.float() / 255)
        weights = self._weights.to(points.device)
        position = [((predicted - points)[..., :2].abs().sum(-1) * weights).mean() for predicted in (near, far)]
        depth = (near[..., 2] - points[..., 2]).abs().mean()
        gap = (_gaps(near) - _gaps(points)).abs().mean()
        loss = position[0] + position[1] + 0.5 * depth + 2 * gap

        eye_distance = (points[:, list(RIGHT_LIDS), :2].mean(1) - points[:, list(LEFT_LIDS), :2].mean(1)).norm(dim=-1)
        error = (near - points)[..., :2].norm(dim=-1).mean(1) / eye_distance
        return loss, {
            "error": float(error.detach().mean()),
            "gap_px": float(gap.detach()) * SIZE / 2,
            "depth": float(depth.detach()),
        }


def _gaps(points: Tensor) -> Tensor:
    """Return the openings of mouth and eyes, (B, 3)."""
    return torch.stack([points[:, lower, 1] - points[:, upper, 1] for upper, lower in GAPS], 1)


def _draw_samples(sampler: PairSampler, r: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield augmented pictures with their keypoints."""
    while True:
        pair = sampler.draw()
        yield _augment(pair.target, pair.target_points, r)
        if r.random() < SOURCES:
            yield _augment(pair.source, pair.source_points, r)


def _augment(picture: np.ndarray, points: np.ndarray, r: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Apply a random crop, blur, noise and occlusion."""
    size, angle = np.exp(r.uniform(-0.2, 0.2)), r.normal(0, 0.1)
    linear = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    center = np.full(2, (SIZE - 1) / 2)
    matrix = np.column_stack([linear, center + r.normal(0, 8, 2) - linear @ center])
    picture = cv2.warpAffine(picture, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR)
    flat = ((points[:, :2] + 1) * SIZE / 2 - 0.5) @ linear.T + matrix[:, 2]
    points = np.column_stack([to_keypoint_units(np.column_stack([flat, flat[:, 0]]))[:, :2], points[:, 2] * size])

    if r.random() < 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), r.uniform(0.3, 1.6))
    if r.random() < 0.3:
        picture = picture + r.normal(0, r.uniform(1, 8), picture.shape)
    if r.random() < 0.2:
        picture = picture.copy()
        (x, y), (width, height) = r.integers(0, 200, 2), r.integers(10, 50, 2)
        picture[y : y + height, x : x + width] = r.uniform(0, 255, 3)
    return picture.clip(0, 255).astype(np.uint8), points
