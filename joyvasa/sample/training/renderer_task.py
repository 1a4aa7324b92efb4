"""Training of F, W and G (appearance, warping, generator) together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, binary_cross_entropy_with_logits, max_pool2d

from joyvasa.networks import build
from joyvasa.sample.networks.layers import gaussian_heatmaps, pixel_centers
from joyvasa.sample.networks.motion_extractor import KeypointFinder
from joyvasa.sample.networks.points import FINE, LEFT_LIDS, RIGHT_LIDS
from joyvasa.sample.training.pairs import PairSampler, channels_first
from joyvasa.sample.training.training_loop import Batch, TrainingTask
from joyvasa.sample.training.training_media import SIZE, TrainingClip, TrainingPortrait

BATCH = 6
POINT_NOISE = 0.004  # standard deviation of noise on keypoints, half a pixel
MAX_ERROR_SHARE = 1.0  # maximum share of M's error that is added to keypoints
MAX_BLINK = 1.6  # maximum closure of keypoints of shut eyes
EYE_SIGMA = 0.07  # width of the weights around an eye
MIN_OPENING = 0.01  # of lids; eyes with less are shut in the source already
FINE_SIGMA = 0.09  # width of the weights around lips and lids
STILL = 0.002  # maximum motion that counts as none, a quarter of a pixel of 256
BAND = 8  # width of the static band next to motion, pixels of 128
SCALES = (1, 2, 4)  # reductions at which edges are compared


class RendererTask(TrainingTask):
    """Task whose loss compares pictures and flow with those of the pairs, and restricts painting.

    At inference the keypoints come from M, with its errors. In training a random share of M's error on the source is
    therefore added to the keypoints of both pictures.

    Args:
        portraits, clips, mean: see `PairSampler`.
        finder: trained keypoint finder of M.
    """

    name = "renderer"

    def __init__(
        self,
        portraits: Sequence[TrainingPortrait],
        clips: Sequence[TrainingClip],
        mean: np.ndarray,
        finder: KeypointFinder,
    ) -> None:
        self.data = portraits, clips, mean
        self._finder = finder.eval().requires_grad_(False)
        self.appearance = build("compact_appearance")
        self.warping = build("compact_warping")
        self.generator = build("compact_generator")
        self.network = nn.ModuleDict(
            {"appearance": self.appearance, "warping": self.warping, "generator": self.generator}
        )

    @staticmethod
    def draw_batches(*data: Any, seed: int) -> Iterator[Batch]:
        """Yield sources, targets, their keypoints, origins of pixels, and painted areas; see `TrainingPair`."""
        sampler = PairSampler(*data, seed=seed, max_blink=MAX_BLINK)
        while True:
            pairs = [sampler.draw() for _ in range(BATCH)]
            pictures = [channels_first([getattr(p, side) for p in pairs]) for side in ("source", "target")]
            points = [np.stack([getattr(p, f"{side}_points") for p in pairs]) for side in ("source", "target")]
            origin = np.stack([p.origin for p in pairs]).reshape(BATCH, SIZE // 2, 2, SIZE // 2, 2, 2).mean((2, 4))
            painted = np.stack([p.painted for p in pairs])[:, None]
            floats = (array.astype(np.float32) for array in (*points, channels_first(origin), painted))
            yield (*(picture.astype(np.uint8) for picture in pictures), *floats)

    def loss(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, dict[str, float]]:
        """Return the weighted sum of color, edge, flow, motion and paint losses."""
        source, target, source_points, target_points, origin, painted = batch
        source, target = source.float() / 255, target.float() / 255
        with torch.autocast(source.device.type, torch.bfloat16):
            warped = self.warp(source, source_points, target_points)
            picture, pixels, brush = self.generator.forward_layers(warped["out"])  # type: ignore[operator]
        near = gaussian_heatmaps(target_points[:, list(FINE)], SIZE, FINE_SIGMA).amax(1, keepdim=True)
        visible = 1 - painted

        # Lips and lids are a few percent of the picture, the inside of a mouth a few thousandths: each has a mean of
        # its own, because the overall mean would hide them.
        error, warp_error = (picture - target).abs(), (pixels - target).abs()
        color = error.mean() + weighted_mean(error, near) + weighted_mean(error, painted)
        color = color + weighted_mean(error, around_shut_lids(source_points, target_points))
        moved = (warp_error * visible).mean() + weighted_mean(warp_error, near * visible)
        edges = edge_difference_at_scales(picture, target) + 3 * edge_difference(picture * near, target * near)
        edges = edges + edge_difference(picture, target, painted)  # edges of teeth

        has_origin, clear = ~origin.isnan(), avg_pool2d(visible, 2)
        flow_error = (warped["deformation"] - origin.nan_to_num()).abs() * has_origin
        weights = has_origin * clear
        flow = weighted_mean(flow_error, weights) + weighted_mean(flow_error, weights * avg_pool2d(near, 2))
        flow = flow + 2 * weighted_mean(flow_error, weights * static_band(origin))
        still = binary_cross_entropy_with_logits(warped["moving"], motion_mask(origin), has_origin[:, :1].float())

        paint = 0.2 * (brush * visible).mean() + 0.1 * weighted_mean(1 - brush, painted)
        loss = color + 0.5 * moved + 0.5 * edges + 4 * flow + 0.1 * still + paint
        numbers = {"color": color, "moved": moved, "flow": flow, "still": still, "brush": brush.mean()}
        return loss, {name: float(value.detach()) for name, value in numbers.items()}

    def warp(
        self, source: Tensor, source_points: Tensor, target_points: Tensor, *, noise: float = 1.0
    ) -> dict[str, Tensor]:
        """Return the outputs of W with noisy keypoints.

        Portraits have shape (B, 3, SIZE, SIZE), in [0, 1], exact keypoints (B, keypoints, 3); `noise` is the factor on
        their noise.
        """
        error = noise * self._keypoint_errors(source, source_points)
        deviation = noise * POINT_NOISE
        noisy = [points + error + deviation * torch.randn_like(points) for points in (source_points, target_points)]
        return self.warping(self.appearance(source), *noisy)

    def _keypoint_errors(self, pictures: Tensor, points: Tensor) -> Tensor:
        """Return a random share of M's error, shape (B, keypoints, 3), to be used as keypoint noise."""
        with torch.no_grad(), torch.autocast(pictures.device.type, torch.bfloat16):
            predicted = self._finder.to(pictures.device)(pictures)[0]
        return MAX_ERROR_SHARE * torch.rand_like(points[:, :1, :1]) * (predicted - points)


def around_shut_lids(source_points: Tensor, target_points: Tensor) -> Tensor:
    """Return weights around shut lids, where a slit of a few pixels would spoil a blink.

    Args:
        source_points: shape (B, keypoints, 3), in -1 to 1.
        target_points: shape (B, keypoints, 3), in -1 to 1.

    Returns:
        1 at shut lids, less around them and at open lids, shape (B, 1, SIZE, SIZE).
    """
    centers, shut = [], []
    for upper, lower in (RIGHT_LIDS, LEFT_LIDS):
        before, after = (p[:, lower, :2] - p[:, upper, :2] for p in (source_points, target_points))
        openness = (before * after).sum(-1) / before.square().sum(-1).clamp(min=MIN_OPENING**2)
        shut.append((1 - openness).clamp(0, 1))  # lids driven past each other count as shut
        centers.append(target_points[:, lower])
    near = gaussian_heatmaps(torch.stack(centers, 1), SIZE, EYE_SIGMA) * torch.stack(shut, 1)[..., None, None]
    return near.amax(1, keepdim=True)


def static_band(origin: Tensor) -> Tensor:
    """Return the static band next to moving pixels, where a head must not drag the background along.

    Args:
        origin: source positions of pixels, shape (B, 2, H, W), in -1 to 1; NaN where unknown.

    Returns:
        1 or 0, shape (B, 1, H, W).
    """
    moving = motion_mask(origin)
    return max_pool2d(moving, 2 * BAND + 1, 1, BAND) * (1 - moving)


def motion_mask(origin: Tensor) -> Tensor:
    """Return 1 where pixels move, else 0, shape (B, 1, H, W); 0 where `origin`, (B, 2, H, W), is NaN."""
    still = pixel_centers(origin.shape[-1], origin.device).permute(2, 0, 1)
    return ((origin - still).abs().amax(1, keepdim=True) > STILL).float()


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean; both tensors have shape (B, channels or 1, H, W)."""
    weights = weights.expand_as(values)
    return (values * weights).sum() / (weights.sum() + 1)


def edge_difference_at_scales(a: Tensor, b: Tensor) -> Tensor:
    """Return the sum of `edge_difference` of two pictures reduced by each of `SCALES`, weighted by the scale."""
    return torch.stack([k * edge_difference(avg_pool2d(a, k), avg_pool2d(b, k)) for k in SCALES]).sum()


def edge_difference(a: Tensor, b: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mean difference of the gradients of two pictures (B, C, H, W), with optional weights (B, 1, H, W)."""
    d = a - b
    across, down = (d[..., 1:] - d[..., :-1]).abs(), (d[..., 1:, :] - d[..., :-1, :]).abs()
    if weights is None:
        return across.mean() + down.mean()
    return weighted_mean(across, weights[..., 1:]) + weighted_mean(down, weights[..., 1:, :])
