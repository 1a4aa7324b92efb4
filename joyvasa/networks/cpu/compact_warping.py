"""Warping by the compact networks on CPUs, a frame at a time; what depends on the portrait alone is computed once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

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


class Grids:
    """Positions of pixels, which depend on the size of the feature only.

    Args:
        n: side of the feature in cells.
    """

    def __init__(self, n: int) -> None:
        device = torch.device("cpu")
        self.centers, self.fine_centers = pixel_centers(n, device), pixel_centers(2 * n, device)  # (N, N, 2)
        self.positions = pixel_centers(FOLD * n, device)


@dataclass(frozen=True)
class CompactPortrait:
    """Maps that depend on the portrait alone.

    Attributes:
        feature: feature of the portrait, float32, shape (1, 48 + channels, N, N).
        source: source keypoints, float32, shape (1, keypoints, 3).
        grids: positions of pixels.
        image: pixels, shape (1, 3, 4N, 4N).
        features: features without pixels, shape (1, channels, N, N).
        small, half: pixels at a quarter and at half of the resolution.
        entry, details: shares of the portrait in the results of the first layers of both U-Nets.
    """

    feature: Tensor
    source: Tensor
    grids: Grids
    image: Tensor
    features: Tensor
    small: Tensor
    half: Tensor
    entry: Tensor
    details: Tensor

    def equals(self, feature: Tensor, source: Tensor) -> bool:
        """Return whether feature and keypoints are those of this portrait."""
        return torch.equal(feature, self.feature) and torch.equal(source, self.source)

    @property
    def side(self) -> int:
        """Side of the feature in cells."""
        return self.feature.shape[-1]


@dataclass(frozen=True)
class WarpedFrame:
    """A warped portrait.

    Attributes:
        pixels: warped pixels, shape (1, 3, 4N, 4N).
        coarse: source positions of the cells, x and y in [-1, 1], shape (1, N, N, 2).
        context: maps for the generator, shape (1, context, N, N).
        occlusion: 1 where the portrait has no content, shape (1, 1, 2N, 2N).
    """

    pixels: Tensor
    coarse: Tensor
    context: Tensor
    occlusion: Tensor


class CompactWarper:
    """`CompactWarping` for one frame at a time; weights are copied.

    Args:
        network: network in eval mode.
    """

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
        )

    def warp(self, portrait: CompactPortrait, driving: Tensor) -> WarpedFrame:
        """Warp the portrait to driving keypoints, shape (1, keypoints, 3)."""
        coarse, context = self._estimate_coarse(portrait, driving)
        with full_precision(driving):
            identity = portrait.grids.fine_centers.permute(2, 0, 1)
            doubled = upsample_2x(coarse.permute(0, 3, 1, 2))  # (1, 2, 2N, 2N)
            flow = doubled - identity
            heatmaps = gaussian_heatmaps(driving[:, list(FINE)], 2 * portrait.side, FINE_SIGMA)
            sampled = sample_at(portrait.half, doubled.permute(0, 2, 3, 1))
            details = stack_maps(flow, heatmaps, upsample_2x(context), sampled)

        refined = self._refined(self._refine(self._details(details, portrait.details)))
        with full_precision(driving):
            free, occluded, moving = refined.float().contiguous().split([2, 1, 1], 1)
            motion = torch.sigmoid(moving) * (flow + FINE_REACH * torch.tanh(free))
            deformation = identity + suppress_small(motion)
            pixels = sample_at(portrait.image, upsample_2x(deformation).permute(0, 2, 3, 1))
            return WarpedFrame(pixels, coarse, context, torch.sigmoid(occluded - 2))

    def _estimate_coarse(self, portrait: CompactPortrait, driving: Tensor) -> tuple[Tensor, Tensor]:
        """Return the coarse source positions, (1, N, N, 2), and the context, (1, context, N, N)."""
        centers, n = portrait.grids.centers, portrait.side
        with full_precision(driving):
            back = portrait.source - driving  # (1, K, 3)
            heatmaps = gaussian_heatmaps(driving, n, COARSE_SIGMA)  # (1, K, N, N)
            depth = (heatmaps.permute(0, 2, 3, 1).flatten(1, 2) @ back[..., 2:]).view(1, 1, n, n)
            head_positions = head_motion(portrait.source, driving, centers)
            frame = stack_maps(heatmaps, depth, sample_at(portrait.small, head_positions))

        motions = self._choose(self._pyramid(self._entry(frame, portrait.entry)))
        with full_precision(driving):
            choice, free, context = motions.float().split([KEYPOINTS + 2, 2, self._n_context], 1)
            weights = choice.permute(0, 2, 3, 1).softmax(-1)  # (1, N, N, K + 2)
            motion = (weights[..., :KEYPOINTS].flatten(1, 2) @ back[..., :2]).view(1, n, n, 2)
            motion = motion + weights[..., KEYPOINTS, None] * (head_positions - centers)
            coarse = centers + motion + COARSE_REACH * torch.tanh(free.permute(0, 2, 3, 1))
            return coarse, context.contiguous(memory_format=torch.channels_last)
