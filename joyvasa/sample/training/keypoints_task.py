"""M learns to find keypoints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from joyvasa.networks import build
from joyvasa.sample.networks.motion_extractor import CompactMotionExtractor
from joyvasa.sample.networks.points import INNER_LOWER_LIP, INNER_UPPER_LIP, KEYPOINTS, LEFT_LIDS, LIPS, RIGHT_LIDS
from joyvasa.sample.training.learning import Batch, Task
from joyvasa.sample.training.pairs import Pair, PairSampler, PairSource, to_unit
from joyvasa.sample.training.pictures import SIZE, Clip, Portrait

BATCH = 12
SOURCES = 0.4  # share of pairs of which the source is looked at, too
GAPS = ((INNER_UPPER_LIP, INNER_LOWER_LIP), RIGHT_LIDS, LEFT_LIDS)  # what must be right to a fraction of a pixel


@dataclass(frozen=True)
class KeypointBatches(PairSource):
    """Batches of pictures and keypoints."""

    def __iter__(self) -> Iterator[Batch]:
        # Of eyes that were made large or blank, M learns to take eyes behind glasses for open ones when they are shut.
        looks = _looks(self.sampler(as_they_are=True), np.random.default_rng(self.seed + 1))
        while True:
            pictures, points = zip(*(next(looks) for _ in range(BATCH)), strict=True)
            first = np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2))
            yield first, np.stack(points).astype(np.float32)


class KeypointsTask(Task):
    """Keypoints must be where the teacher has them, and lips and lids as far apart.

    Args:
        portraits, clips, mean: see `PairSampler`.
    """

    name = "keypoints"

    def __init__(self, portraits: Sequence[Portrait], clips: Sequence[Clip], mean: np.ndarray) -> None:
        self._data = portraits, clips, mean
        extractor = build("compact_motion_extractor")
        assert isinstance(extractor, CompactMotionExtractor)
        self.extractor, self.network = extractor, extractor.finder
        weights = torch.ones(KEYPOINTS)
        weights[[*LIPS, *RIGHT_LIDS, *LEFT_LIDS]] = 2
        self._weights = weights

    def batches(self, seed: int) -> KeypointBatches:
        """See `KeypointBatches`."""
        return KeypointBatches(*self._data, seed)

    def loss(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, dict[str, float]]:
        """See the class."""
        pictures, points = batch
        with torch.autocast(pictures.device.type, torch.bfloat16):
            near, far = self.network(pictures.float() / 255)
        weights = self._weights.to(points.device)
        place = [((found - points)[..., :2].abs().sum(-1) * weights).mean() for found in (near, far)]
        depth = (near[..., 2] - points[..., 2]).abs().mean()
        gap = (_gaps(near) - _gaps(points)).abs().mean()
        loss = place[0] + place[1] + 0.5 * depth + 2 * gap
        apart = (points[:, list(RIGHT_LIDS), :2].mean(1) - points[:, list(LEFT_LIDS), :2].mean(1)).norm(dim=-1)
        error = (near - points)[..., :2].norm(dim=-1).mean(1) / apart
        return loss, {
            "error": float(error.detach().mean()),
            "gap_px": float(gap.detach()) * SIZE / 2,
            "depth": float(depth.detach()),
        }


def _gaps(points: Tensor) -> Tensor:
    """Heights of mouth and eyes, (B, 3)."""
    return torch.stack([points[:, lower, 1] - points[:, upper, 1] for upper, lower in GAPS], 1)


def _looks(sampler: PairSampler, r: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pictures as a camera and a hasty detector give them, with keypoints."""
    while True:
        pair: Pair = sampler.draw()
        yield _disturbed(pair.target, pair.target_points, r)
        if r.random() < SOURCES:
            yield _disturbed(pair.source, pair.source_points, r)


def _disturbed(picture: np.ndarray, points: np.ndarray, r: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Another crop, blur, noise, something in front."""
    size, angle = np.exp(r.uniform(-0.2, 0.2)), r.normal(0, 0.1)
    linear = size * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.full(2, (SIZE - 1) / 2)
    matrix = np.column_stack([linear, centre + r.normal(0, 8, 2) - linear @ centre])
    picture = cv2.warpAffine(picture, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR)
    flat = ((points[:, :2] + 1) * SIZE / 2 - 0.5) @ linear.T + matrix[:, 2]
    points = np.column_stack([to_unit(np.column_stack([flat, flat[:, 0]]))[:, :2], points[:, 2] * size])
    if r.random() < 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), r.uniform(0.3, 1.6))
    if r.random() < 0.3:
        picture = picture + r.normal(0, r.uniform(1, 8), picture.shape)
    if r.random() < 0.2:
        picture = picture.copy()
        (x, y), (width, height) = r.integers(0, 200, 2), r.integers(10, 50, 2)
        picture[y : y + height, x : x + width] = r.uniform(0, 255, 3)
    return picture.clip(0, 255).astype(np.uint8), points
