"""W of the compact family: where each pixel of the driven picture comes from in the portrait."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pixel_shuffle, pixel_unshuffle

from joyvasa.networks.config import NetworkConfig
from joyvasa.networks.layers import full_precision
from joyvasa.sample.networks.appearance import FOLD, PIXEL_CHANNELS
from joyvasa.sample.networks.layers import (
    Pyramid,
    cat_channels_last,
    gaussian_heatmaps,
    pixel_centers,
    sample_at,
    upsample_2x,
)
from joyvasa.sample.networks.points import FINE, HEAD, KEYPOINTS
from joyvasa.sample.networks.teeth import draw_teeth

COARSE_SIGMA, FINE_SIGMA, LOOK_SIGMA = 0.07, 0.03, 0.04  # of heatmaps: 9, 4 and 5 pixels of a picture of 256
COARSE_REACH, FINE_REACH = 0.1, 0.06  # farthest that the network moves a pixel on its own account
CALM = 0.0024  # a third of a pixel of 256: motion below it is none
MOVES = 4.0  # bias of what moves before training
RIDGE = 1e-4  # keeps the head's affine motion defined for keypoints on a line


@dataclass(frozen=True, kw_only=True)
class CompactWarpingConfig(NetworkConfig):
    """Sizes."""

    channels: int = 32  # of the features, without pixels
    widths: tuple[int, ...] = (48, 64, 96, 96)  # of the pyramid that estimates the motion
    context: int = 16  # channels that it hands to finer levels
    fine_widths: tuple[int, ...] = (32, 48)  # of the pyramid that refines it at twice the resolution


class CompactWarping(nn.Module):
    """Feature of a portrait and two sets of keypoints -> the feature as it looks from the driven pose.

    As in the First Order Motion Model (Siarohin et al. 2019), every pixel chooses among motions: those of the
    keypoints, of the head as a whole, and none. A second level at twice the resolution looks at the portrait, at rest
    and moved, and refines lips, lids and where the head ends.

    Args:
        config: sizes.
    """

    def __init__(self, config: CompactWarpingConfig) -> None:
        super().__init__()
        self.context = context = config.context
        first = 2 * KEYPOINTS, 2 * KEYPOINTS + config.channels + 3  # what depends on the portrait alone
        self._changing, self._constant = [*range(first[0]), *range(first[1], first[1] + 4)], [*range(*first)]
        self.pyramid = Pyramid(2 * KEYPOINTS + config.channels + 7, config.widths)
        self.choose = nn.Conv2d(config.widths[0], KEYPOINTS + 2 + 2 + context, 3, 1, 1)
        self.refine = Pyramid(2 + 2 * len(FINE) + context + 6, config.fine_widths)
        self.refined = nn.Conv2d(config.fine_widths[0], 4, 3, 1, 1)
        self._start_from_the_head()

    def forward(self, feature: Tensor, kp_source: Tensor, kp_driving: Tensor) -> dict[str, Tensor]:
        """Warps.

        Args:
            feature: shape (1 or B, 48 + channels, N, N).
            kp_source: shape (1 or B, keypoints, 3), x and y in -1 to 1.
            kp_driving: shape (B, keypoints, 3).

        Returns:
            `out`: shape (B, 48 + channels + fine + context + 4 + 48, N, N), for the generator; `deformation`: shape
            (B, 2, 2N, 2N), where pixels come from, x and y in -1 to 1; `occlusion_map`: shape (B, 1, 2N, 2N), 1
            where they come from nowhere; `moving`: likewise, logits, below 0 where they stand still whatever moves
            next to them.
        """
        with full_precision(feature):
            feature, source, driving = cat_channels_last(feature.float()), kp_source.float(), kp_driving.float()
            n, batch, fine = feature.shape[-1], len(driving), list(FINE)
            source, centres = source.expand(batch, -1, -1), pixel_centers(n, feature.device)
            back = source - driving
            picture = pixel_shuffle(feature[:, :PIXEL_CHANNELS], FOLD)  # (1 or B, 3, 4N, 4N)
            features, small = feature[:, PIXEL_CHANNELS:], avg_pool2d(picture, FOLD)
            half = avg_pool2d(picture, 2)  # (1 or B, 3, 2N, 2N)
            moved = gaussian_heatmaps(driving, n, COARSE_SIGMA)
            depth = moved.permute(0, 2, 3, 1) @ back[:, None, :, 2:]  # (B, N, N, 1)
            as_head = _as_head(source, driving, centres)  # (B, N, N, 2)
            turned = sample_at(small, as_head)
            changing = [moved - gaussian_heatmaps(source, n, COARSE_SIGMA), moved, depth.permute(0, 3, 1, 2), turned]
            entering = (
                (cat_channels_last(*changing), self._changing),
                (cat_channels_last(features, small), self._constant),
            )
        motions = self.choose(self.pyramid.after(self.pyramid.enter.forward_parts(*entering)))
        with full_precision(feature):
            choice, own, context = motions.float().split([KEYPOINTS + 2, 2, self.context], 1)
            weights = choice.permute(0, 2, 3, 1).softmax(-1)  # (B, N, N, K+2)
            head = weights[..., KEYPOINTS, None]
            chosen = weights[..., :KEYPOINTS] @ back[:, None, :, :2] + head * (as_head - centres)
            coarse = centres + chosen + COARSE_REACH * torch.tanh(own.permute(0, 2, 3, 1))  # (B, N, N, 2)
            doubled = upsample_2x(coarse.permute(0, 3, 1, 2))  # (B, 2, 2N, 2N)
            still = pixel_centers(2 * n, feature.device).permute(2, 0, 1)
            near = [gaussian_heatmaps(points[:, fine], 2 * n, FINE_SIGMA) for points in (driving, source)]
            looks = half.expand(batch, -1, -1, -1), sample_at(half, doubled.permute(0, 2, 3, 1))
            close = cat_channels_last(doubled - still, *near, upsample_2x(cat_channels_last(context)), *looks)
        own, nowhere, moving = self.refined(self.refine(close)).float().split([2, 1, 1], 1)  # (B, 2 or 1, 2N, 2N)
        with full_precision(feature):
            motion = torch.sigmoid(moving) * (doubled - still + FINE_REACH * torch.tanh(own))
            deformation = still + _calmed(motion)
            occlusion = torch.sigmoid(nowhere - 2)
            pixels = sample_at(picture, upsample_2x(deformation).permute(0, 2, 3, 1))
            warped = sample_at(features, coarse)
            look = gaussian_heatmaps(driving[:, fine], n, LOOK_SIGMA)
            guides = draw_teeth(driving, FOLD * n)
            pixels, guides = (pixel_unshuffle(cat_channels_last(picture), FOLD) for picture in (pixels, guides))
            out = cat_channels_last(
                pixels, warped, look, context, pixel_unshuffle(cat_channels_last(occlusion), 2), guides
            )
        return {"out": out, "deformation": deformation, "occlusion_map": occlusion, "moving": moving}

    def _start_from_the_head(self) -> None:
        """Before training most pixels follow the head or stand still, and no pixel goes its own way."""
        own = slice(KEYPOINTS + 2, KEYPOINTS + 4)
        with torch.no_grad():
            self.choose.weight[own] *= 0.01
            for bias in (self.choose.bias, self.refined.bias):
                nn.init.zeros_(bias)  # type: ignore[arg-type]
            self.choose.bias[KEYPOINTS : KEYPOINTS + 2] = torch.tensor([2.0, 1.0])  # type: ignore[index]
            self.refined.weight.zero_()
            self.refined.bias[3] = MOVES  # type: ignore[index]


def _as_head(source: Tensor, driving: Tensor, centres: Tensor) -> Tensor:
    """Where pixels with these centres, (N, N, 2), would come from if all moved as the head does, (B, N, N, 2)."""
    rigid = list(HEAD)
    ones = torch.ones_like(driving[:, rigid, :1])
    known = torch.cat([driving[:, rigid, :2], ones], -1)  # (B, R, 3)
    ridge = RIDGE * torch.eye(3, device=source.device)
    moments = known.transpose(1, 2) @ known + ridge
    affine = torch.linalg.solve(moments, known.transpose(1, 2) @ source[:, rigid, :2] + ridge[:, :2])  # (B, 3, 2)
    return centres @ affine[:, None, :2] + affine[:, None, None, 2]


def _calmed(motion: Tensor) -> Tensor:
    """Motion, (B, 2, H, W), without what is too small to be meant, so that a background stands perfectly still.

    The garrote of L. Breiman (1995), "Better subset regression using the nonnegative garrote".
    """
    square = motion.square().sum(1, keepdim=True)
    return motion * (1 - CALM**2 / (square + CALM**2 / 100)).clamp(min=0)
