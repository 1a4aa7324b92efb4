"""Warping by the compact networks on CPUs: motion is refined only where something may move, a frame at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from joyvasa.networks.cpu.boxes import Box
from joyvasa.networks.cpu.folded import FoldedConv, FoldedUNet, fold, stack_maps
from joyvasa.networks.layers import full_precision
from joyvasa.sample.networks.appearance import FOLD, PIXEL_CHANNELS
from joyvasa.sample.networks.layers import gaussian_heatmaps, pixel_centers, sample_at, upsample_2x
from joyvasa.sample.networks.points import FINE, KEYPOINTS
from joyvasa.sample.networks.warping import (
    COARSE_REACH,
    COARSE_SIGMA,
    FINE_REACH,
    FINE_SIGMA,
    CompactWarping,
    head_motion,
    suppress_small,
)

# The box to be refined is what the network considers as moving in the still portrait and in two shifted ones, with a
# margin. Frames of 13 portraits in usual motion then differ from those refined everywhere by a PSNR of at least 64 dB.
MOVING_MARGIN = 4  # cells
PROBE_SHIFT = 0.1  # in x and y; the image spans 2
USUAL_MOTION = 0.15  # with keypoints that move by more, everything is refined


class Grids:
    """Positions of pixels, which depend only on n, the side of the feature in cells."""

    def __init__(self, n: int) -> None:
        device = torch.device("cpu")
        self.centers, self.positions = pixel_centers(n, device), pixel_centers(FOLD * n, device)  # (N, N, 2), (4N, ...)
        self.identity = pixel_centers(2 * n, device).permute(2, 0, 1)[None].contiguous()  # (1, 2, 2N, 2N)


@dataclass(frozen=True)
class CompactPortrait:
    """Maps that depend on the portrait alone."""

    feature: Tensor  # feature of the portrait, float32, shape (1, 48 + channels, N, N)
    source: Tensor  # source keypoints, float32, shape (1, keypoints, 3)
    grids: Grids  # positions of pixels
    image: Tensor  # pixels, shape (1, 3, 4N, 4N)
    features: Tensor  # features without pixels, shape (1, channels, N, N)
    small: Tensor  # pixels at a quarter of the resolution
    half: Tensor  # pixels at half of the resolution
    entry: Tensor  # shares of the portrait in the results of the first layers of both U-Nets
    details: Tensor  # shares of the portrait in the results of the first layers of both U-Nets
    movable: Box  # box of cells that may move; all until `CompactWarper.find_movable`

    def equals(self, feature: Tensor, source: Tensor) -> bool:
        """Return whether feature and keypoints are those of this portrait."""
        return torch.equal(feature, self.feature) and torch.equal(source, self.source)

    @property
    def side(self) -> int:
        """Side of the feature in cells."""
        return self.feature.shape[-1]


@dataclass(frozen=True)
class CoarseMotion:
    """Result of the first U-Net."""

    positions: Tensor  # source positions, x and y in [-1, 1], of the cells of `near`, shape (1, 2, h, w)
    context: Tensor  # maps for refinement and generator, of the cells of `near`, shape (1, context, h, w)
    box: Box  # cells to be refined
    near: Box  # the box with the cells next to it


@dataclass(frozen=True)
class WarpedFrame:
    """A warped portrait."""

    pixels: Tensor  # warped pixels, shape (1, 3, 4N, 4N)
    coarse: CoarseMotion  # result of the first U-Net
    occlusion: Tensor  # 1 where the portrait has no content, in the box of `coarse`, shape (1, 1, 2h, 2w)


class CompactWarper:
    """`CompactWarping` for one frame at a time; weights are copied."""

    def __init__(self, network: CompactWarping) -> None:
        entry = fold(network.pyramid.enter)
        parts = [KEYPOINTS, KEYPOINTS, entry.weight.shape[1] - 2 * KEYPOINTS - 4, 4]
        changes, heatmaps, portrait, frame = entry.weight.split(parts, 1)
        # `changes` are the heatmaps of the driving keypoints minus those of the source keypoints.
        self._portrait_entry, self._entry = entry.split((-changes, portrait), (changes + heatmaps, frame))
        self._pyramid = FoldedUNet(network.pyramid)
        self._choose = FoldedConv.from_layers(network.choose, relu=False)

        details, self._n_context = fold(network.refine.enter), network.context
        parts = [2, len(FINE), len(FINE), network.context, 3, 3]
        flow, driving, source, context, half, sampled = details.weight.split(parts, 1)
        self._portrait_details, self._details = details.split((source, half), (flow, driving, context, sampled))
        self._refine = FoldedUNet(network.refine)
        self._refined = FoldedConv.from_layers(network.refined, relu=False)

    def prepare(self, feature: Tensor, source: Tensor) -> CompactPortrait:
        """Compute the maps of a portrait.

        Args:
            feature: feature of the portrait, float32, shape (1, 48 + channels, N, N).
            source: source keypoints, float32, shape (1, keypoints, 3).
        """
        n, grids = feature.shape[-1], Grids(feature.shape[-1])
        with full_precision(feature):
            image = F.pixel_shuffle(feature[:, :PIXEL_CHANNELS].contiguous(), FOLD)
            features = feature[:, PIXEL_CHANNELS:].contiguous(memory_format=torch.channels_last)
            small, half = F.avg_pool2d(image, FOLD), F.avg_pool2d(image, 2)
            heatmaps = gaussian_heatmaps(source, n, COARSE_SIGMA)
            fine_heatmaps = gaussian_heatmaps(source[:, list(FINE)], 2 * n, FINE_SIGMA)
        return CompactPortrait(
            feature=feature,
            source=source,
            grids=grids,
            image=image,
            features=features,
            small=small,
            half=half,
            entry=self._portrait_entry(stack_maps(heatmaps, features, small)),
            details=self._portrait_details(stack_maps(fine_heatmaps, half)),
            movable=Box(0, 0, n, n),
        )

    def find_movable(self, portrait: CompactPortrait) -> CompactPortrait:
        """Return the portrait with the box of what the network considers as moving, still and shifted."""
        box = Box(0, 0, 0, 0)
        for shift in (0.0, PROBE_SHIFT, -PROBE_SHIFT):
            driving = portrait.source + portrait.source.new_tensor([shift, shift, 0.0])
            coarse = self._estimate_coarse(portrait, driving, portrait.movable)
            refined, _ = self._refine_motion(portrait, driving, coarse)
            box = box.unite(_find_box(refined[0, 3] > 0))
        return replace(portrait, movable=box)

    def warp(self, portrait: CompactPortrait, driving: Tensor, needed: Box) -> WarpedFrame:
        """Warp the portrait to driving keypoints, (1, keypoints, 3), with all results for the cells of `needed`."""
        n = portrait.side
        box = portrait.movable if portrait.movable.empty else portrait.movable.grow(MOVING_MARGIN, n)
        if float((driving - portrait.source)[..., :2].abs().max()) > USUAL_MOTION:
            box = Box(0, 0, n, n)
        coarse = self._estimate_coarse(portrait, driving, box.unite(needed))
        refined, flow = self._refine_motion(portrait, driving, coarse)
        with full_precision(driving):
            free, occluded, moving = refined.split([2, 1, 1], 1)
            motion = suppress_small(torch.sigmoid(moving) * (flow + FINE_REACH * torch.tanh(free)))
            deformation = portrait.grids.identity.clone()
            coarse.box.cut(deformation, 2).add_(motion)
            pixels = sample_at(portrait.image, upsample_2x(deformation).permute(0, 2, 3, 1))
            return WarpedFrame(pixels, coarse, torch.sigmoid(occluded - 2))

    def _estimate_coarse(self, portrait: CompactPortrait, driving: Tensor, box: Box) -> CoarseMotion:
        centers, n = portrait.grids.centers, portrait.side
        with full_precision(driving):
            back = portrait.source - driving  # (1, K, 3)
            heatmaps = gaussian_heatmaps(driving, n, COARSE_SIGMA)  # (1, K, N, N)
            depth = (heatmaps.permute(0, 2, 3, 1).flatten(1, 2) @ back[..., 2:]).view(1, 1, n, n)
            head_positions = head_motion(portrait.source, driving, centers)
            frame = stack_maps(heatmaps, depth, sample_at(portrait.small, head_positions))

        near = box.grow(1, n)  # for interpolation; one more cell for the 3x3 convolution
        motions = self._pyramid(self._entry(frame, portrait.entry), near.grow(1, n))
        motions = near.within(near.grow(1, n)).cut(self._choose(motions)).permute(0, 2, 3, 1)  # (1, h, w, ...)
        with full_precision(driving):
            choice, free, context = motions.float().split([KEYPOINTS + 2, 2, self._n_context], -1)
            weights = choice.softmax(-1)  # (1, h, w, K + 2)
            motion = (weights[..., :KEYPOINTS].flatten(1, 2) @ back[..., :2]).view(free.shape)
            head = near.cut((head_positions - centers).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            motion = motion + weights[..., KEYPOINTS, None] * head
            positions = near.cut(centers.permute(2, 0, 1)).permute(1, 2, 0)
            coarse = positions + motion + COARSE_REACH * torch.tanh(free)
        return CoarseMotion(coarse.permute(0, 3, 1, 2), context.permute(0, 3, 1, 2), box, near)

    def _refine_motion(self, portrait: CompactPortrait, driving: Tensor, coarse: CoarseMotion) -> tuple[Tensor, Tensor]:
        """Return the output of the second U-Net, (1, 4, 2h, 2w), and the coarse motion, (1, 2, 2h, 2w), in the box."""
        box, inner = coarse.box, coarse.box.within(coarse.near)
        with full_precision(driving):
            doubled = inner.cut(upsample_2x(coarse.positions), 2)  # (1, 2, 2h, 2w)
            flow = doubled - box.cut(portrait.grids.identity, 2)
            heatmaps = box.cut(gaussian_heatmaps(driving[:, list(FINE)], 2 * portrait.side, FINE_SIGMA), 2)
            sampled = sample_at(portrait.half, doubled.permute(0, 2, 3, 1))
            details = stack_maps(flow, heatmaps, inner.cut(upsample_2x(coarse.context), 2), sampled)
        share = box.cut(portrait.details, 2).contiguous(memory_format=torch.channels_last)
        return self._refined(self._refine(self._details(details, share))).float().contiguous(), flow


def _find_box(mask: Tensor) -> Box:
    """Return the box of cells around a mask of twice the resolution, (2N, 2N)."""
    columns, rows = mask.any(0).nonzero()[:, 0].tolist(), mask.any(1).nonzero()[:, 0].tolist()
    if not rows:
        return Box(0, 0, 0, 0)
    return Box(columns[0] // 2, rows[0] // 2, columns[-1] // 2 + 1, rows[-1] // 2 + 1)
