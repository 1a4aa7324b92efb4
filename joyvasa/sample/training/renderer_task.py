"""F, W and G learn together to drive a portrait."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits, max_pool2d

from joyvasa.networks import build
from joyvasa.sample.networks.layers import gaussian_heatmaps, pixel_centers
from joyvasa.sample.networks.motion_extractor import KeypointFinder
from joyvasa.sample.networks.points import FINE, LEFT_LIDS, RIGHT_LIDS
from joyvasa.sample.training.pairs import PairSource
from joyvasa.sample.training.training_loop import Batch, TrainingTask
from joyvasa.sample.training.training_media import SIZE, TrainingClip, TrainingPortrait

BATCH = 6
POINT_NOISE = 0.004  # half a pixel: no two sets of keypoints are the same
MOST_MISTAKEN = 1.0  # share of what M is off by
MOST_SHUT = 1.6  # blink of keypoints that still means eyes that are just shut
EYE_SIGMA = 0.07  # of what counts as an eye
LEAST_OPEN = 0.01  # of lids; what is less is shut before it is driven
FINE_SIGMA = 0.09  # of what counts as around lips and lids
STILL = 0.002  # motion up to a quarter of a pixel of 256
BESIDE = 8  # as far next to what moves, pixels of 128
SCALES = (1, 2, 4)  # at which edges are compared


@dataclass(frozen=True)
class RendererBatches(PairSource):
    """Batches of source, target, their keypoints, where pixels come from, and what is painted."""

    def __iter__(self) -> Iterator[Batch]:
        sampler = self.sampler(most_shut=MOST_SHUT)
        while True:
            pairs = [sampler.draw() for _ in range(BATCH)]
            pictures = [_channels_first([getattr(p, side) for p in pairs]) for side in ("source", "target")]
            points = [np.stack([getattr(p, f"{side}_points") for p in pairs]) for side in ("source", "target")]
            origin = np.stack([p.origin for p in pairs]).reshape(BATCH, SIZE // 2, 2, SIZE // 2, 2, 2).mean((2, 4))
            painted = np.stack([p.painted for p in pairs])[:, None]
            yield (*pictures, *(p.astype(np.float32) for p in points), _first(origin), painted.astype(np.float32))


class RendererTask(TrainingTask):
    """Pictures must equal the driven ones, pixels come from where they came from, paint be used only where needed.

    Keypoints of a driven portrait are those that M found in it, moved; so they are wrong where M was, and F, W and G
    learn to do with them.

    Args:
        portraits, clips, mean: see `PairSampler`.
        finder: of M.
    """

    name = "renderer"

    def __init__(
        self,
        portraits: Sequence[TrainingPortrait],
        clips: Sequence[TrainingClip],
        mean: np.ndarray,
        finder: KeypointFinder,
    ) -> None:
        self._data = portraits, clips, mean
        self._finder = finder.eval().requires_grad_(False)
        self.appearance = build("compact_appearance")
        self.warping = build("compact_warping")
        self.generator = build("compact_generator")
        self.network = nn.ModuleDict(
            {"appearance": self.appearance, "warping": self.warping, "generator": self.generator}
        )

    def batches(self, seed: int) -> RendererBatches:
        """See `RendererBatches`."""
        return RendererBatches(*self._data, seed)

    def loss(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, dict[str, float]]:
        """See the class."""
        source, target, source_points, target_points, origin, painted = batch
        source, target = source.float() / 255, target.float() / 255
        with torch.autocast(source.device.type, torch.bfloat16):
            warped = self.warped(source, source_points, target_points)
            picture, pixels, brush = self.generator.forward_layers(warped["out"])  # type: ignore[operator]
        near = gaussian_heatmaps(target_points[:, list(FINE)], SIZE, FINE_SIGMA).amax(1, keepdim=True)
        known = 1 - painted
        # Lips and lids are a few hundredths of the picture, the inside of a mouth a few thousandths: each has a mean
        # of its own, or nothing would be learned of them.
        wrong, moved_wrong = (picture - target).abs(), (pixels - target).abs()
        colour = wrong.mean() + weighted_mean(wrong, near) + weighted_mean(wrong, painted)
        colour = colour + weighted_mean(wrong, around_shut_lids(source_points, target_points))
        moved = (moved_wrong * known).mean() + weighted_mean(moved_wrong, near * known)
        edges = edge_difference_at_scales(SCALES, picture, target) + 3 * edge_difference(picture * near, target * near)
        edges = edges + edge_difference(picture, target, painted)  # teeth that have an end
        told, clear = ~origin.isnan(), avg_pool2d(known, 2)
        astray = (warped["deformation"] - origin.nan_to_num()).abs() * told
        flow = weighted_mean(astray, told * clear) + weighted_mean(astray, told * clear * avg_pool2d(near, 2))
        flow = flow + 2 * weighted_mean(astray, told * clear * beside_motion(origin))
        still = binary_cross_entropy_with_logits(warped["moving"], moves(origin), told[:, :1].float())
        paint = 0.2 * (brush * known).mean() + 0.1 * weighted_mean(1 - brush, painted)
        loss = colour + 0.5 * moved + 0.5 * edges + 4 * flow + 0.1 * still + paint
        numbers = {"colour": colour, "moved": moved, "flow": flow, "still": still, "brush": brush.mean()}
        return loss, {name: float(value.detach()) for name, value in numbers.items()}

    def warped(
        self, source: Tensor, source_points: Tensor, target_points: Tensor, *, doubt: float = 1.0
    ) -> dict[str, Tensor]:
        """What W gives for portraits, (B, 3, SIZE, SIZE) in [0, 1], with keypoints as M would have them, or better."""
        off = doubt * self._mistakes(source, source_points)
        noise = doubt * POINT_NOISE
        noisy = [points + off + noise * torch.randn_like(points) for points in (source_points, target_points)]
        return self.warping(self.appearance(source), *noisy)

    def _mistakes(self, pictures: Tensor, points: Tensor) -> Tensor:
        """What M finds less what it should find, more or less of it, (B, keypoints, 3)."""
        with torch.no_grad(), torch.autocast(pictures.device.type, torch.bfloat16):
            found = self._finder.to(pictures.device)(pictures)[0]
        return MOST_MISTAKEN * torch.rand_like(points[:, :1, :1]) * (found - points)


def around_shut_lids(source_points: Tensor, target_points: Tensor) -> Tensor:
    """Where lids meet: a slit that stays open between them is a few pixels, and all that is seen of a blink.

    Args:
        source_points: shape (B, keypoints, 3), in -1 to 1.
        target_points: likewise.

    Returns:
        1 at shut lids, less around them and where they are open, shape (B, 1, SIZE, SIZE).
    """
    centres, shut = [], []
    for upper, lower in (RIGHT_LIDS, LEFT_LIDS):
        before, after = (p[:, lower, :2] - p[:, upper, :2] for p in (source_points, target_points))
        open_of_before = (before * after).sum(-1) / before.square().sum(-1).clamp(min=LEAST_OPEN**2)
        shut.append((1 - open_of_before).clamp(0, 1))  # lids that were driven past each other are shut
        centres.append(target_points[:, lower])
    near = gaussian_heatmaps(torch.stack(centres, 1), SIZE, EYE_SIGMA) * torch.stack(shut, 1)[..., None, None]
    return near.amax(1, keepdim=True)


def beside_motion(origin: Tensor) -> Tensor:
    """Where a picture stands still next to what moves: a head must not drag along what is behind it.

    Args:
        origin: shape (B, 2, H, W), where pixels come from, in -1 to 1; NaN where that is not known.

    Returns:
        1 or 0, shape (B, 1, H, W).
    """
    moving = moves(origin)
    return max_pool2d(moving, 2 * BESIDE + 1, 1, BESIDE) * (1 - moving)


def moves(origin: Tensor) -> Tensor:
    """Where a picture does not stand still, 1 or 0, shape (B, 1, H, W); 0 where `origin`, (B, 2, H, W), is NaN."""
    still = pixel_centers(origin.shape[-1], origin.device).permute(2, 0, 1)
    return ((origin - still).abs().amax(1, keepdim=True) > STILL).float()


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean with weights; both (B, channels or 1, H, W)."""
    weights = weights.expand_as(values)
    return (values * weights).sum() / (weights.sum() + 1)


def edge_difference_at_scales(scales: Sequence[int], a: Tensor, b: Tensor) -> Tensor:
    """Sum of `edge_difference` of two pictures reduced by each of the scales, times that."""
    return torch.stack([k * edge_difference(avg_pool2d(a, k), avg_pool2d(b, k)) for k in scales]).sum()


def edge_difference(a: Tensor, b: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean difference of the gradients of two pictures, (B, C, H, W); with weights, (B, 1, H, W), if they are given."""
    d = a - b
    across, down = (d[..., 1:] - d[..., :-1]).abs(), (d[..., 1:, :] - d[..., :-1, :]).abs()
    if weights is None:
        return across.mean() + down.mean()
    return weighted_mean(across, weights[..., 1:]) + weighted_mean(down, weights[..., 1:, :])


def _channels_first(pictures: list[np.ndarray]) -> np.ndarray:
    return np.ascontiguousarray(np.stack(pictures).transpose(0, 3, 1, 2)).astype(np.uint8)


def _first(origin: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(origin.transpose(0, 3, 1, 2)).astype(np.float32)
