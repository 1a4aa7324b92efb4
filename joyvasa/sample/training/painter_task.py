"""Fine-tuning of G on cutouts at mouths and eyes, with F and W frozen."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from joyvasa.sample.networks.appearance import FOLD
from joyvasa.sample.networks.layers import gaussian_heatmaps
from joyvasa.sample.networks.motion_extractor import KeypointFinder
from joyvasa.sample.networks.points import FINE, LEFT_LIDS, LIPS, RIGHT_LIDS
from joyvasa.sample.training.renderer_task import (
    FINE_SIGMA,
    RendererTask,
    around_shut_lids,
    edge_difference,
    edge_difference_at_scales,
    weighted_mean,
)
from joyvasa.sample.training.training_loop import TrainingTask
from joyvasa.sample.training.training_media import SIZE, TrainingPortrait

CUT = 32  # side of a cutout of the feature, half the side of the feature
RIM = 6  # width of the rim of a cutout that the loss ignores, because there G sees the padding
BUFFER, BATCH = 512, 24  # cutouts in the buffer and per step: computing one takes ten times as long as training on it
NOISE = 0.3  # factor on the keypoint noise: teeth at random positions would be blurred
AT_EYES, ANYWHERE = 0.35, 0.15  # shares of the cutouts; the others are at mouths


class PainterTask(TrainingTask):
    """Task that compares cutouts of pictures around mouths and eyes.

    The inside of a mouth is a hundredth of a picture but attracts much more attention. G sees ten times as many mouths
    per second here as in `RendererTask`. Its batch norm is frozen, because cutouts have other means than pictures.
    Frames of videos are not used, because their teeth are unknown.

    Args:
        portraits, mean: see `PairSampler`.
        finder: trained keypoint finder of M.
        trained: averaged weights of `RendererTask`.
    """

    name = "painter"
    draw_batches = staticmethod(RendererTask.draw_batches)

    def __init__(
        self,
        portraits: Sequence[TrainingPortrait],
        mean: np.ndarray,
        finder: KeypointFinder,
        trained: dict[str, Tensor],
    ) -> None:
        self._renderer = RendererTask(portraits, [], mean, finder)
        self.data = self._renderer.data
        self._renderer.network.load_state_dict(trained)
        self._renderer.network.eval().requires_grad_(False)
        self._buffer: deque[tuple[Tensor, ...]] = deque(maxlen=BUFFER)
        self.network = self.generator = self._renderer.generator.requires_grad_(True)

    def loss(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, dict[str, float]]:
        """Return the weighted sum of color, edge and paint losses of cutouts."""
        source, target, source_points, target_points, _, painted = batch
        source, target = source.float() / 255, target.float() / 255
        self.generator.eval()
        with torch.no_grad(), torch.autocast(source.device.type, torch.bfloat16):
            feature = self._renderer.warp(source, source_points, target_points, noise=NOISE)["out"]
        near = gaussian_heatmaps(target_points[:, list(FINE)], SIZE, FINE_SIGMA).amax(1, keepdim=True)
        lids = around_shut_lids(source_points, target_points)

        corners = draw_corners(target_points)
        cutouts = [_cut_out(feature, corners, 1, 0).bfloat16()]
        cutouts += [_cut_out(x, corners, FOLD, RIM) for x in (target, painted, near, lids)]
        feature, target, painted, near, lids = self._extend_batch(cutouts)
        with torch.autocast(source.device.type, torch.bfloat16):
            picture, _, brush = self.generator.forward_layers(feature)  # type: ignore[operator]
        inner = slice(RIM * FOLD, -RIM * FOLD)
        picture, brush = picture[..., inner, inner], brush[..., inner, inner]

        error, visible = (picture - target).abs(), 1 - painted
        color = error.mean() + weighted_mean(error, near) + 2 * weighted_mean(error, painted)
        color = color + weighted_mean(error, lids)
        edges = edge_difference_at_scales(picture, target) + 3 * edge_difference(picture, target, painted)
        paint = 0.2 * (brush * visible).mean() + 0.1 * weighted_mean(1 - brush, painted)
        loss = color + 0.5 * edges + paint
        numbers = {"color": color, "mouth": weighted_mean(error, painted), "brush": brush.mean()}
        return loss, {name: float(value.detach()) for name, value in numbers.items()}

    def _extend_batch(self, cutouts: list[Tensor]) -> list[Tensor]:
        """Add the cutouts to the buffer, and random ones from the buffer to the batch; tensors of shape (B, ...)."""
        new = list(zip(*cutouts, strict=True))
        self._buffer.extend(new)
        older = torch.randint(len(self._buffer), (BATCH - len(new),)).tolist()
        return [torch.stack(column) for column in zip(*new, *(self._buffer[i] for i in older), strict=True)]


def draw_corners(points: Tensor) -> list[tuple[int, int]]:
    """Draw the row and column in the feature of each cutout: at the mouth, at an eye, or anywhere.

    Args:
        points: keypoints, shape (B, keypoints, 3), in -1 to 1.
    """
    last = SIZE // FOLD - CUT
    corners = []
    for keypoints in points[..., :2]:
        chance, eye = torch.rand(2).tolist()
        if chance < ANYWHERE:
            row, column = torch.randint(last + 1, (2,)).tolist()
        else:
            lid = (LEFT_LIDS if eye < 0.5 else RIGHT_LIDS)[1]
            center = keypoints[lid] if chance < ANYWHERE + AT_EYES else keypoints[list(LIPS)].mean(0)
            column, row = ((center + 1) * SIZE / FOLD / 2 - CUT / 2).tolist()
        corners.append((min(max(round(row), 0), last), min(max(round(column), 0), last)))
    return corners


def _cut_out(pictures: Tensor, corners: Sequence[tuple[int, int]], scale: int, rim: int) -> Tensor:
    """Return cutouts (B, C, side, side) without their rim, of pictures `scale` times as large as the feature."""
    side = (CUT - 2 * rim) * scale
    cutouts = []
    for picture, (row, column) in zip(pictures, corners, strict=True):
        top, left = (row + rim) * scale, (column + rim) * scale
        cutouts.append(picture[:, top : top + side, left : left + side])
    return torch.stack(cutouts)
