"""M of the compact networks: detects keypoints, then decomposes them into head pose, identity and expression."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from joyvasa.networks.config import NetworkConfig
from joyvasa.networks.layers import full_precision
from joyvasa.sample.networks.layers import ConvNormRelu, ResidualBlock, UNet, pixel_centers, sample_at
from joyvasa.sample.networks.points import (
    BONY,
    INNER_LOWER_LIP,
    INNER_UPPER_LIP,
    KEYPOINTS,
    LEFT_LIDS,
    LIPS,
    RIGHT_LIDS,
)

SHARPNESS = 4.0  # factor of the logits in the softmax over positions
MOUTH_REACH, EYE_REACH = 0.75, 0.42  # half the side of a refinement patch, in distances between the eyes
PATCH = 48  # side of a refinement patch in pixels


@dataclass(frozen=True, kw_only=True)
class CompactMotionExtractorConfig(NetworkConfig):
    """Sizes."""

    widths: tuple[int, ...] = (24, 40, 64, 96, 128)  # channels at 1/2, 1/4, ... of the image size
    patch_widths: tuple[int, ...] = (24, 32, 48)  # channels at 1, 1/2 and 1/4 of the patch size
    pose_bins: int = 1  # the heads return degrees


class PatchPoints(nn.Module):
    """Detector of points in a patch by soft-argmax.

    Args:
        points: number of points.
        widths: channels at full, half and quarter size.
    """

    def __init__(self, points: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        a, b, c = widths
        self.body = nn.Sequential(
            ConvNormRelu(3, a),
            ConvNormRelu(a, b, stride=2),
            ResidualBlock(b),
            ConvNormRelu(b, c, stride=2),
            ResidualBlock(c),
        )
        self.maps = nn.Conv2d(c, 4 * points, 1)

    def forward(self, patch: Tensor) -> Tensor:
        """Map (B, 3, N, N) to (B, points, 2), x and y in [-1, 1]."""
        x = self.body(patch)  # (B, widths[2], N/4, N/4)
        with full_precision(x):
            maps = pixel_shuffle(self.maps(x.float()), 2)  # (B, points, N/2, N/2)
        return expected_position(maps)


class KeypointFinder(nn.Module):
    """Detector of keypoints: all at a quarter of the resolution, then lips and lids again in patches."""

    def __init__(self, config: CompactMotionExtractorConfig) -> None:
        super().__init__()
        half, *rest = config.widths
        self.enter = ConvNormRelu(3 * 4, half)
        self.reduce = nn.Sequential(ConvNormRelu(half, rest[0], stride=2), ResidualBlock(rest[0]))
        self.pyramid = UNet(rest[0], rest)
        self.maps = nn.Conv2d(rest[0], 2 * KEYPOINTS, 1)
        self.mouth = PatchPoints(len(LIPS), config.patch_widths)
        self.eye = PatchPoints(len(RIGHT_LIDS), config.patch_widths)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Detect keypoints, x and y in [-1, 1], z in the same unit, (B, keypoints, 3), in RGB in [0, 1], (B, 3, H, W).

        The second result are the keypoints before the refinement of lips and lids.
        """
        x = self.pyramid(self.reduce(self.enter(pixel_unshuffle(image, 2) * 2 - 1)))  # (B, C, H/4, W/4)
        with full_precision(x):
            logits, depths = self.maps(x.float()).split(KEYPOINTS, 1)
        coarse = expected_position(logits)  # (B, K, 2)
        depth = (position_weights(logits) * depths.flatten(2)).sum(-1, keepdim=True)  # (B, K, 1)
        refined = self._refine(image.float(), coarse.detach())
        return torch.cat([refined, depth], -1), torch.cat([coarse, depth], -1)

    def _refine(self, image: Tensor, coarse: Tensor) -> Tensor:
        right, left = (coarse[:, list(lids)].mean(1) for lids in (RIGHT_LIDS, LEFT_LIDS))
        across = left - right  # (B, 2): from eye to eye

        refined = coarse.clone()
        for finder, points, reach, mirrored in (
            (self.mouth, LIPS, MOUTH_REACH, False),
            (self.eye, RIGHT_LIDS, EYE_REACH, False),
            (self.eye, LEFT_LIDS, EYE_REACH, True),
        ):
            index = list(points)
            center = coarse[:, index].mean(1, keepdim=True)
            x_axis = across * (-reach if mirrored else reach)
            y_axis = torch.stack([-across[:, 1], across[:, 0]], -1) * reach
            axes = torch.stack([x_axis, y_axis], 1)  # (B, 2, 2): patch to image, for row vectors
            positions = pixel_centers(PATCH, image.device) @ axes[:, None] + center[:, None]
            refined[:, index] = finder(sample_at(image, positions)) @ axes + center
        return refined


class HeadModel(nn.Module):
    """Decomposition of keypoints into head pose, identity and expression, without trained weights.

    The frame of the head has its origin at the pivot of the neck and the distance between the eyes as its unit; x, y
    and z are those of the image when the head looks straight ahead.
    """

    mean: Tensor  # (keypoints, 3), mean of many people with closed lips
    opening: Tensor  # (keypoints, 3), motion while the mouth opens by 1

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.randn(KEYPOINTS, 3, generator=torch.Generator().manual_seed(0)))
        self.register_buffer("opening", torch.zeros(KEYPOINTS, 3))

    def forward(self, points: Tensor) -> dict[str, Tensor]:
        """Compute the heads of a motion extractor from keypoints, (B, keypoints, 3).

        Returns:
            Tensors, float32: `pitch`, `yaw`, `roll` (B, 1) in degrees; `t` (B, 3); `exp` (B, 3 * keypoints); `scale`
            (B, 1); `kp` (B, 3 * keypoints).
        """
        with full_precision(points):
            points, bony = points.float(), list(BONY)
            scale, rotation, shift = fit_similarity(self.mean[bony], points[:, bony])
            frontal = (points - shift[:, None]) @ rotation.transpose(1, 2) / scale[:, None, None]

            gap = (frontal[:, INNER_LOWER_LIP, 1] - frontal[:, INNER_UPPER_LIP, 1]).clamp(min=0)
            opened = gap[:, None, None] * self.opening
            identity, expression = frontal - opened, opened @ rotation
            return {
                **dict(zip(("pitch", "yaw", "roll"), euler_angles(rotation), strict=True)),
                "t": shift,
                "exp": expression.flatten(1),
                "scale": scale[:, None],
                "kp": identity.flatten(1),
            }


class CompactMotionExtractor(nn.Module):
    """Motion extractor with the outputs of the published one."""

    def __init__(self, config: CompactMotionExtractorConfig) -> None:
        super().__init__()
        self.finder = KeypointFinder(config)
        self.head = HeadModel()
        self.n_keypoints = KEYPOINTS

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Detect and decompose keypoints, see `KeypointFinder` and `HeadModel`."""
        return self.head(self.finder(image)[0])


def position_weights(maps: Tensor) -> Tensor:
    """Return the softmax over the positions of each map; map (B, K, H, W) to (B, K, H * W)."""
    return (SHARPNESS * maps.flatten(2)).softmax(-1)


def expected_position(maps: Tensor) -> Tensor:
    """Return the soft-argmax of each map; map (B, K, N, N) to (B, K, 2), x and y in [-1, 1]."""
    return position_weights(maps) @ pixel_centers(maps.shape[-1], maps.device).flatten(0, 1)


def fit_similarity(model: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Fit the similarity `points = scale * model @ rotation + shift` by least squares.

    S. Umeyama (1991), "Least-squares estimation of transformation parameters between two point patterns".

    Args:
        model: points of the model, shape (R, 3).
        points: points to fit, shape (B, R, 3).

    Returns:
        Scale, shape (B,); rotation, shape (B, 3, 3); shift, shape (B, 3).
    """
    model_center, centers = model.mean(0), points.mean(1)
    a, b = model - model_center, points - centers[:, None]
    u, sizes, vt = torch.linalg.svd(a.T @ b)  # (B, 3, 3)
    signs = torch.ones_like(sizes)
    signs[:, 2] = torch.sign(torch.linalg.det(u @ vt))  # no reflection
    rotation = u @ (signs[:, :, None] * vt)
    scale = (sizes * signs).sum(1) / a.square().sum()
    return scale, rotation, centers - scale[:, None] * (model_center @ rotation)


def euler_angles(rotation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return pitch, yaw and roll in degrees, each (B, 1); the inverse of `joyvasa.motion.keypoints.head_rotation`.

    For row vectors, `R = (Rz Ry Rx)^T`, hence `R[0, 2] = -sin(yaw)`.
    """
    yaw = -torch.asin(rotation[:, 0, 2].clamp(-1, 1))
    pitch = torch.atan2(rotation[:, 1, 2], rotation[:, 2, 2])
    roll = torch.atan2(rotation[:, 0, 1], rotation[:, 0, 0])
    return tuple(angle[:, None] * (180 / math.pi) for angle in (pitch, yaw, roll))  # type: ignore[return-value]
