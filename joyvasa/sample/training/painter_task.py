"""G learns on alone, close to mouths and eyes, while F and W stay as they are."""

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
    SCALES,
    RendererBatches,
    RendererTask,
    around_shut_lids,
    edge_difference,
    edge_difference_at_scales,
    weighted_mean,
)
from joyvasa.sample.training.training_loop import TrainingTask
from joyvasa.sample.training.training_media import SIZE, TrainingPortrait

CUT = 32  # side of what G sees of a feature, which is a quarter of it
RIM = 6  # of that on each side, which counts for nothing: there G sees beyond the edge
KEPT, LEARNED = 512, 24  # cuts that are kept, and of a step: to make one takes ten times as long as to learn from it
DOUBT = 0.3  # of what keypoints are off by: teeth that may be anywhere would have no edge
AT_EYES, ANYWHERE = 0.35, 0.15  # shares of the cuts; the others are at mouths


class PainterTask(TrainingTask):
    """Pictures must equal the driven ones around mouths and eyes.

    The inside of a mouth is a hundredth of a picture and a tenth of what is seen of a speaker. In a second G sees ten
    times as many mouths here as beside F and W. Its batch norm stays as it is: cuts have other means than pictures.
    Frames of videos are left out, as nothing tells which teeth they show.

    Args:
        portraits, mean: see `PairSampler`.
        finder: of M.
        trained: the three networks as `RendererTask` left them, averaged weights.
    """

    name = "painter"

    def __init__(
        self,
        portraits: Sequence[TrainingPortrait],
        mean: np.ndarray,
        finder: KeypointFinder,
        trained: dict[str, Tensor],
    ) -> None:
        self._renderer = RendererTask(portraits, [], mean, finder)
        self._renderer.network.load_state_dict(trained)
        self._renderer.network.eval().requires_grad_(False)
        self._kept: deque[tuple[Tensor, ...]] = deque(maxlen=KEPT)
        self.network = self.generator = self._renderer.generator.requires_grad_(True)

    def batches(self, seed: int) -> RendererBatches:
        """See `RendererBatches`."""
        return self._renderer.batches(seed)

    def loss(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, dict[str, float]]:
        """See the class."""
        source, target, source_points, target_points, _, painted = batch
        source, target = source.float() / 255, target.float() / 255
        self.generator.eval()
        with torch.no_grad(), torch.autocast(source.device.type, torch.bfloat16):
            feature = self._renderer.warped(source, source_points, target_points, doubt=DOUBT)["out"]
        near = gaussian_heatmaps(target_points[:, list(FINE)], SIZE, FINE_SIGMA).amax(1, keepdim=True)
        lids = around_shut_lids(source_points, target_points)
        corners = cut_corners(target_points)
        fresh = [_cut(feature, corners, 1, 0).bfloat16()]
        fresh += [_cut(x, corners, FOLD, RIM) for x in (target, painted, near, lids)]
        feature, target, painted, near, lids = self._with_older(fresh)
        with torch.autocast(source.device.type, torch.bfloat16):
            picture, _, brush = self.generator.forward_layers(feature)  # type: ignore[operator]
        inner = slice(RIM * FOLD, -RIM * FOLD)
        picture, brush = picture[..., inner, inner], brush[..., inner, inner]
        wrong, known = (picture - target).abs(), 1 - painted
        colour = wrong.mean() + weighted_mean(wrong, near) + 2 * weighted_mean(wrong, painted)
        colour = colour + weighted_mean(wrong, lids)
        edges = edge_difference_at_scales(SCALES, picture, target) + 3 * edge_difference(picture, target, painted)
        paint = 0.2 * (brush * known).mean() + 0.1 * weighted_mean(1 - brush, painted)
        loss = colour + 0.5 * edges + paint
        numbers = {"colour": colour, "mouth": weighted_mean(wrong, painted), "brush": brush.mean()}
        return loss, {name: float(value.detach()) for name, value in numbers.items()}

    def _with_older(self, fresh: list[Tensor]) -> list[Tensor]:
        """Fresh cuts, and older ones at random; each list (B, ...)."""
        cuts = list(zip(*fresh, strict=True))
        self._kept.extend(cuts)
        older = torch.randint(len(self._kept), (LEARNED - len(cuts),)).tolist()
        return [torch.stack(column) for column in zip(*cuts, *(self._kept[i] for i in older), strict=True)]


def cut_corners(points: Tensor) -> list[tuple[int, int]]:
    """Row and column in the feature where each cut begins, at random: at mouths, open or closed, at eyes, or anywhere.

    Args:
        points: shape (B, keypoints, 3), in -1 to 1.
    """
    last = SIZE // FOLD - CUT
    corners = []
    for own in points[..., :2]:
        chance, eye = torch.rand(2).tolist()
        if chance < ANYWHERE:
            row, column = torch.randint(last + 1, (2,)).tolist()
        else:
            lid = (LEFT_LIDS if eye < 0.5 else RIGHT_LIDS)[1]
            centre = own[lid] if chance < ANYWHERE + AT_EYES else own[list(LIPS)].mean(0)
            column, row = ((centre + 1) * SIZE / FOLD / 2 - CUT / 2).tolist()
        corners.append((min(max(round(row), 0), last), min(max(round(column), 0), last)))
    return corners


def _cut(pictures: Tensor, corners: Sequence[tuple[int, int]], scale: int, rim: int) -> Tensor:
    """The cuts, (B, C, side, side), of pictures that are `scale` times as large as the feature, without a rim."""
    side = (CUT - 2 * rim) * scale
    starts = [((row + rim) * scale, (column + rim) * scale) for row, column in corners]
    return torch.stack(
        [one[:, row : row + side, column : column + side] for one, (row, column) in zip(pictures, starts, strict=True)]
    )
