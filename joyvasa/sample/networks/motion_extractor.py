"""M of the compact family: keypoints are looked for, then taken apart into head pose, person and expression."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from joyvasa.networks.config import NetworkConfig
from joyvasa.networks.layers import full_precision
from joyvasa.sample.networks.layers import ConvNormRelu, Pyramid, ResidualBlock, pixel_centers, sample_at
from joyvasa.sample.networks.points import (
    BONY,
    INNER_LOWER_LIP,
    INNER_UPPER_LIP,
    KEYPOINTS,
    LEFT_LIDS,
    LIPS,
    RIGHT_LIDS,
)

SHARPNESS = 4.0  # of the softmax over places
MOUTH_REACH, EYE_REACH = 0.75, 0.42  # half side of the second look, in distances between the eyes
PATCH = 48  # pixels of the second look


@dataclass(frozen=True, kw_only=True)
class CompactMotionExtractorConfig(NetworkConfig):
    """Sizes."""

    widths: tuple[int, ...] = (24, 40, 64, 96, 128)  # at a half, a quarter ... of the picture's side
    patch_widths: tuple[int, ...] = (24, 32, 48)
    pose_bins: int = 1  # the heads give degrees


class PatchPoints(nn.Module):
    """Points in a small picture, where a softmax over its places has its mean.

    Args:
        points: how many.
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

    def forward(self, picture: Tensor) -> Tensor:
        """(B, 3, N, N) -> (B, points, 2), x and y in -1 to 1."""
        x = self.body(picture)
        with full_precision(x):
            maps = pixel_shuffle(self.maps(x.float()), 2)  # (B, points, N/2, N/2)
        return expected_position(maps)


class KeypointFinder(nn.Module):
    """Keypoints of a face: all of them at a quarter of the resolution, then lips and lids once more from near by.

    Args:
        config: sizes.
    """

    def __init__(self, config: CompactMotionExtractorConfig) -> None:
        super().__init__()
        half, *rest = config.widths
        self.enter = ConvNormRelu(3 * 4, half)
        self.reduce = nn.Sequential(ConvNormRelu(half, rest[0], stride=2), ResidualBlock(rest[0]))
        self.pyramid = Pyramid(rest[0], rest)
        self.maps = nn.Conv2d(rest[0], 2 * KEYPOINTS, 1)
        self.mouth = PatchPoints(len(LIPS), config.patch_widths)
        self.eye = PatchPoints(len(RIGHT_LIDS), config.patch_widths)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Finds.

        Args:
            image: shape (B, 3, H, W) in [0, 1].

        Returns:
            keypoints, shape (B, keypoints, 3), x and y in -1 to 1, z in the same unit; and the same before the
            second look.
        """
        x = self.pyramid(self.reduce(self.enter(pixel_unshuffle(image, 2) * 2 - 1)))  # (B, C, H/4, W/4)
        with full_precision(x):
            places, depths = self.maps(x.float()).split(KEYPOINTS, 1)
        found = expected_position(places)  # (B, K, 2)
        depth = (position_weights(places) * depths.flatten(2)).sum(-1, keepdim=True)  # (B, K, 1)
        near = self._look_again(image.float(), found.detach())
        return torch.cat([near, depth], -1), torch.cat([found, depth], -1)

    def _look_again(self, image: Tensor, found: Tensor) -> Tensor:
        right, left = (found[:, list(lids)].mean(1) for lids in (RIGHT_LIDS, LEFT_LIDS))
        across = left - right  # (B, 2): from eye to eye
        better = found.clone()
        for finder, points, reach, mirrored in (
            (self.mouth, LIPS, MOUTH_REACH, False),
            (self.eye, RIGHT_LIDS, EYE_REACH, False),
            (self.eye, LEFT_LIDS, EYE_REACH, True),
        ):
            index = list(points)
            centre = found[:, index].mean(1, keepdim=True)
            x_axis = across * (-reach if mirrored else reach)
            y_axis = torch.stack([-across[:, 1], across[:, 0]], -1) * reach
            axes = torch.stack([x_axis, y_axis], 1)  # (B, 2, 2): patch -> picture, for row vectors
            where = pixel_centers(PATCH, image.device) @ axes[:, None] + centre[:, None]
            better[:, index] = finder(sample_at(image, where)) @ axes + centre
        return better


class HeadModel(nn.Module):
    """Takes keypoints apart. No weight of it is trained: all is measured on a mean head.

    A head's own frame has its origin where the neck turns, the distance between the eyes as its unit, and x, y, z
    as the picture has them when the head looks straight ahead.
    """

    mean: Tensor  # (keypoints, 3), of many people, lips closed
    opening: Tensor  # (keypoints, 3), how they move while a mouth opens by 1

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.randn(KEYPOINTS, 3, generator=torch.Generator().manual_seed(0)))
        self.register_buffer("opening", torch.zeros(KEYPOINTS, 3))

    def forward(self, points: Tensor) -> dict[str, Tensor]:
        """Heads of a motion extractor, in float32.

        Args:
            points: shape (B, keypoints, 3).

        Returns:
            pitch, yaw, roll (B, 1) in degrees; t (B, 3); exp (B, 3 keypoints); scale (B, 1); kp (B, 3 keypoints).
        """
        with full_precision(points):
            points, bony = points.float(), list(BONY)
            scale, rotation, shift = fit_similarity(self.mean[bony], points[:, bony])
            own = (points - shift[:, None]) @ rotation.transpose(1, 2) / scale[:, None, None]
            gap = (own[:, INNER_LOWER_LIP, 1] - own[:, INNER_UPPER_LIP, 1]).clamp(min=0)
            opened = gap[:, None, None] * self.opening
            person, expression = own - opened, opened @ rotation
            return {
                **dict(zip(("pitch", "yaw", "roll"), euler_angles(rotation), strict=True)),
                "t": shift,
                "exp": expression.flatten(1),
                "scale": scale[:, None],
                "kp": person.flatten(1),
            }


class CompactMotionExtractor(nn.Module):
    """Portrait -> raw heads, as the published motion extractor gives them.

    Args:
        config: sizes.
    """

    def __init__(self, config: CompactMotionExtractorConfig) -> None:
        super().__init__()
        self.finder = KeypointFinder(config)
        self.head = HeadModel()
        self.n_keypoints = KEYPOINTS

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Looks for keypoints and takes them apart; see `KeypointFinder` and `HeadModel`."""
        return self.head(self.finder(image)[0])


def position_weights(maps: Tensor) -> Tensor:
    """Softmax over the places of each map, (B, K, H, W) -> (B, K, H W)."""
    return (SHARPNESS * maps.flatten(2)).softmax(-1)


def expected_position(maps: Tensor) -> Tensor:
    """Mean place of each map's softmax, (B, K, N, N) -> (B, K, 2), x and y in -1 to 1."""
    return position_weights(maps) @ pixel_centers(maps.shape[-1], maps.device).flatten(0, 1)


def fit_similarity(model: Tensor, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Similarity that takes a model to points: `points = scale * model @ rotation + shift`, least squares.

    S. Umeyama (1991), "Least-squares estimation of transformation parameters between two point patterns".

    Args:
        model: shape (R, 3).
        points: shape (B, R, 3).

    Returns:
        scale (B,), rotation (B, 3, 3), shift (B, 3).
    """
    centre, centres = model.mean(0), points.mean(1)
    a, b = model - centre, points - centres[:, None]
    u, sizes, vt = torch.linalg.svd(a.T @ b)  # (B, 3, 3)
    signs = torch.ones_like(sizes)
    signs[:, 2] = torch.sign(torch.linalg.det(u @ vt))
    rotation = u @ (signs[:, :, None] * vt)
    scale = (sizes * signs).sum(1) / a.square().sum()
    return scale, rotation, centres - scale[:, None] * (centre @ rotation)


def euler_angles(rotation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pitch, yaw and roll of `joyvasa.motion.keypoints.head_rotation`, degrees, each (B, 1).

    There `R = (Rz Ry Rx)^T`, so for row vectors `R[0, 2] = -sin(yaw)`.
    """
    yaw = -torch.asin(rotation[:, 0, 2].clamp(-1, 1))
    pitch = torch.atan2(rotation[:, 1, 2], rotation[:, 2, 2])
    roll = torch.atan2(rotation[:, 0, 1], rotation[:, 0, 0])
    return tuple(angle[:, None] * (180 / math.pi) for angle in (pitch, yaw, roll))  # type: ignore[return-value]
