"""W of the compact networks: estimates the source position of each pixel and warps the portrait."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pixel_shuffle, pixel_unshuffle

from joyvasa.networks.config import NetworkConfig
from joyvasa.networks.layers import full_precision
from joyvasa.sample.networks.animal_mouth import draw_mouth_at
from joyvasa.sample.networks.appearance import FOLD, PIXEL_CHANNELS
from joyvasa.sample.networks.layers import (
    UNet,
    cat_channels_last,
    gaussian_heatmaps,
    pixel_centers,
    sample_at,
    upsample_2x,
)
from joyvasa.sample.networks.points import FINE, HEAD, KEYPOINTS
from joyvasa.sample.networks.teeth import draw_teeth_at

COARSE_SIGMA, FINE_SIGMA, OUTPUT_SIGMA = 0.07, 0.03, 0.04  # of heatmaps: 9, 4 and 5 pixels of a 256-pixel image
COARSE_REACH, FINE_REACH = 0.1, 0.06  # limits of the motion that the network adds to that of the keypoints
MIN_MOTION = 0.0024  # a third of a pixel of a 256-pixel image; smaller motion is suppressed
INITIAL_MOVING_BIAS = 4.0  # all pixels may move before training
RIDGE = 1e-4  # regularizes the head's affine motion if keypoints are collinear


@dataclass(frozen=True, kw_only=True)
class CompactWarpingConfig(NetworkConfig):
    """Sizes."""

    channels: int = 32  # channels of the features, without pixels
    widths: tuple[int, ...] = (48, 64, 96, 96)  # of the U-Net that estimates the motion
    context: int = 16  # channels passed on to refinement and generator
    fine_widths: tuple[int, ...] = (32, 48)  # of the U-Net that refines the motion at twice the resolution


class CompactWarping(nn.Module):
    """Warping of a portrait's feature from source to driving keypoints.

    As in the First Order Motion Model (Siarohin et al. 2019), the motion of a pixel is a weighted mean of candidates:
    the motions of the keypoints, that of the head as a whole, and none. A second U-Net at twice the resolution compares
    the portrait with its warped version and refines lips, lids and the outline of the head.
    """

    def __init__(self, config: CompactWarpingConfig) -> None:
        super().__init__()
        self.context = context = config.context
        start, end = 2 * KEYPOINTS, 2 * KEYPOINTS + config.channels + 3  # inputs that depend on the portrait only
        self._portrait_channels = [*range(start, end)]
        self._frame_channels = [*range(start), *range(end, end + 4)]

        self.pyramid = UNet(2 * KEYPOINTS + config.channels + 7, config.widths)
        self.choose = nn.Conv2d(config.widths[0], KEYPOINTS + 2 + 2 + context, 3, 1, 1)
        self.refine = UNet(2 + 2 * len(FINE) + context + 6, config.fine_widths)
        self.refined = nn.Conv2d(config.fine_widths[0], 4, 3, 1, 1)
        self._init_head_motion()

    def forward(self, feature: Tensor, kp_source: Tensor, kp_driving: Tensor) -> dict[str, Tensor]:
        """Warp the feature.

        Args:
            feature: feature of the portrait, shape (1 or B, 48 + channels, N, N).
            kp_source: source keypoints, x and y in [-1, 1], shape (1 or B, keypoints, 3).
            kp_driving: driving keypoints, shape (B, keypoints, 3).

        Returns:
            Tensors: `out`, input of the generator, shape (B, 48 + channels + fine + context + 4 + 48, N, N);
            `deformation`, source positions of the pixels, x and y in [-1, 1], shape (B, 2, 2N, 2N); `occlusion_map`, 1
            where the source has no content, shape (B, 1, 2N, 2N); `moving`, logits, negative where pixels are static
            regardless of motion nearby, shape (B, 1, 2N, 2N).
        """
        with full_precision(feature):
            feature, source, driving = cat_channels_last(feature.float()), kp_source.float(), kp_driving.float()
            n, batch, fine = feature.shape[-1], len(driving), list(FINE)
            source, centers = source.expand(batch, -1, -1), pixel_centers(n, feature.device)
            back = source - driving  # (B, K, 3): from driving to source position

            # Candidate motions, at the resolution of the feature.
            image = pixel_shuffle(feature[:, :PIXEL_CHANNELS], FOLD)  # (1 or B, 3, 4N, 4N)
            features, small = feature[:, PIXEL_CHANNELS:], avg_pool2d(image, FOLD)
            heatmaps = gaussian_heatmaps(driving, n, COARSE_SIGMA)  # (B, K, N, N)
            heatmap_changes = heatmaps - gaussian_heatmaps(source, n, COARSE_SIGMA)
            depth = heatmaps.permute(0, 2, 3, 1) @ back[:, None, :, 2:]  # (B, N, N, 1)
            head_positions = head_motion(source, driving, centers)  # (B, N, N, 2)
            turned = sample_at(small, head_positions)  # (B, 3, N, N)
            frame = cat_channels_last(heatmap_changes, heatmaps, depth.permute(0, 3, 1, 2), turned)
            portrait = cat_channels_last(features, small)

        entry = self.pyramid.enter.forward_parts((frame, self._frame_channels), (portrait, self._portrait_channels))
        motions = self.choose(self.pyramid.forward_levels(entry))  # (B, K + 4 + context, N, N)

        with full_precision(feature):
            # Coarse motion: the weighted mean of the candidates, plus a free motion.
            choice, free, context = motions.float().split([KEYPOINTS + 2, 2, self.context], 1)
            weights = choice.permute(0, 2, 3, 1).softmax(-1)  # (B, N, N, K + 2)
            motion = weights[..., :KEYPOINTS] @ back[:, None, :, :2]
            motion = motion + weights[..., KEYPOINTS, None] * (head_positions - centers)
            coarse = centers + motion + COARSE_REACH * torch.tanh(free.permute(0, 2, 3, 1))  # (B, N, N, 2)

            # Inputs of the refinement: the coarse motion, and the portrait before and after it.
            half = avg_pool2d(image, 2)  # (1 or B, 3, 2N, 2N)
            doubled = upsample_2x(coarse.permute(0, 3, 1, 2))  # (B, 2, 2N, 2N)
            identity = pixel_centers(2 * n, feature.device).permute(2, 0, 1)
            fine_heatmaps = [gaussian_heatmaps(points[:, fine], 2 * n, FINE_SIGMA) for points in (driving, source)]
            images = half.expand(batch, -1, -1, -1), sample_at(half, doubled.permute(0, 2, 3, 1))
            context_2x = upsample_2x(cat_channels_last(context))
            details = cat_channels_last(doubled - identity, *fine_heatmaps, context_2x, *images)

        free, occluded, moving = self.refined(self.refine(details)).float().split([2, 1, 1], 1)  # (B, 2 or 1, 2N, 2N)

        with full_precision(feature):
            motion = torch.sigmoid(moving) * (doubled - identity + FINE_REACH * torch.tanh(free))
            deformation = identity + suppress_small(motion)
            occlusion = torch.sigmoid(occluded - 2)

            pixels = sample_at(image, upsample_2x(deformation).permute(0, 2, 3, 1))  # (B, 3, 4N, 4N)
            out = cat_channels_last(
                pixel_unshuffle(cat_channels_last(pixels), FOLD),
                sample_at(features, coarse),
                gaussian_heatmaps(driving[:, fine], n, OUTPUT_SIGMA),
                context,
                pixel_unshuffle(cat_channels_last(occlusion), 2),
                pixel_unshuffle(
                    cat_channels_last(self.draw_mouth_at(source, driving, pixel_centers(FOLD * n, source.device))), FOLD
                ),
            )
        return {"out": out, "deformation": deformation, "occlusion_map": occlusion, "moving": moving}

    def draw_mouth_at(self, source: Tensor, driving: Tensor, positions: Tensor) -> Tensor:
        """Return the last maps of the output at some positions, (H, W, 2) to (B, 3, H, W)."""
        return draw_teeth_at(driving, positions)

    def _init_head_motion(self) -> None:
        """Initialize the motion: pixels follow the head or are static, with almost no free motion."""
        free = slice(KEYPOINTS + 2, KEYPOINTS + 4)
        with torch.no_grad():
            self.choose.weight[free] *= 0.01
            for bias in (self.choose.bias, self.refined.bias):
                nn.init.zeros_(bias)  # type: ignore[arg-type]
            self.choose.bias[KEYPOINTS : KEYPOINTS + 2] = torch.tensor([2.0, 1.0])  # type: ignore[index]
            self.refined.weight.zero_()
            self.refined.bias[3] = INITIAL_MOVING_BIAS  # type: ignore[index]


class CompactAnimalWarping(CompactWarping):
    """Warping of an animal's feature: that of people, with the mouth of an animal."""

    def draw_mouth_at(self, source: Tensor, driving: Tensor, positions: Tensor) -> Tensor:
        """Return the maps of `joyvasa.sample.networks.animal_mouth.draw_mouth_at`."""
        return draw_mouth_at(source, driving, positions)


def head_motion(source: Tensor, driving: Tensor, centers: Tensor) -> Tensor:
    """Return the source positions of pixel centers, (N, N, 2), under the affine motion of the head, (B, N, N, 2)."""
    head = list(HEAD)
    ones = torch.ones_like(driving[:, head, :1])
    points = torch.cat([driving[:, head, :2], ones], -1)  # (B, R, 3)
    ridge = RIDGE * torch.eye(3, device=source.device)
    moments = points.transpose(1, 2) @ points + ridge
    affine = torch.linalg.solve(moments, points.transpose(1, 2) @ source[:, head, :2] + ridge[:, :2])  # (B, 3, 2)
    turned = centers.flatten(0, 1) @ affine[:, :2]  # (B, N * N, 2)
    return turned.unflatten(1, centers.shape[:2]) + affine[:, None, None, 2]


def suppress_small(motion: Tensor) -> Tensor:
    """Suppress motion, (B, 2, H, W), below `MIN_MOTION`, so that the background is perfectly static.

    L. Breiman (1995), "Better subset regression using the nonnegative garrote".
    """
    square = motion.square().sum(1, keepdim=True)
    return motion * (1 - MIN_MOTION**2 / (square + MIN_MOTION**2 / 100)).clamp(min=0)
