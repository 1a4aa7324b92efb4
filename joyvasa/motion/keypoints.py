"""Implicit keypoints of a face: canonical points, transformed by head pose and expression.

Points are row vectors (x, y, z): x to the right, y down, z inward; the crop spans -1 to 1. All results are computed in
float32, also under autocast.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from joyvasa.errors import InputError, ModelError
from joyvasa.motion.convex_hull import convex_hull_volume
from joyvasa.networks.layers import full_precision

POSE_BINS = 66  # bins of a head angle; bin i represents 3 i - 97.5 degrees
DEGREES_PER_BIN = 3.0
FIRST_BIN_DEGREES = -97.5
FLAT_VOLUME = 1e-6  # maximum volume of a flat convex hull with a longest side of 1


@dataclass(frozen=True)
class KeypointInfo:
    """Pose, expression and canonical keypoints of portraits, from the motion extractor."""

    pitch: Tensor  # head angle in degrees, shape (batch, 1)
    yaw: Tensor  # head angle in degrees, shape (batch, 1)
    roll: Tensor  # head angle in degrees, shape (batch, 1)
    translation: Tensor  # translation of the head, shape (batch, 3); z has no effect
    expression: Tensor  # displacement of each keypoint, shape (batch, keypoints, 3)
    scale: Tensor  # scale of the head, shape (batch, 1)
    canonical: Tensor  # keypoints without pose and expression, shape (batch, keypoints, 3)

    @classmethod
    def from_heads(cls, heads: Mapping[str, Tensor]) -> KeypointInfo:
        """Convert the outputs of the motion extractor: pitch, yaw, roll, t, exp, scale, kp."""
        return cls(
            pitch=degrees_from_bins(heads["pitch"]),
            yaw=degrees_from_bins(heads["yaw"]),
            roll=degrees_from_bins(heads["roll"]),
            translation=heads["t"].float(),
            expression=heads["exp"].float().unflatten(1, (-1, 3)),
            scale=heads["scale"].float(),
            canonical=heads["kp"].float().unflatten(1, (-1, 3)),
        )

    def __len__(self) -> int:
        return len(self.canonical)

    def __getitem__(self, index: slice) -> KeypointInfo:
        """Return a slice of the portraits."""
        return KeypointInfo(**{field.name: getattr(self, field.name)[index] for field in fields(self)})

    @property
    def rotation(self) -> Tensor:
        """Head rotation, shape (batch, 3, 3)."""
        return head_rotation(self.pitch, self.yaw, self.roll)


def degrees_from_bins(bins: Tensor) -> Tensor:
    """Compute the expected angle of a distribution over bins, in degrees, shape (batch, 1), float32.

    `bins` are logits, shape (batch, 66); a tensor of another width contains degrees and is returned itself.
    """
    if bins.shape[1] != POSE_BINS:
        return bins
    index = torch.arange(POSE_BINS, device=bins.device, dtype=torch.float32)
    expected = (bins.float().softmax(dim=1) * index).sum(dim=1, keepdim=True)
    return expected * DEGREES_PER_BIN + FIRST_BIN_DEGREES


def head_rotation(pitch: Tensor, yaw: Tensor, roll: Tensor) -> Tensor:
    """Compute the rotation matrix for row vectors (`points @ R`): about x by pitch, then y by yaw, then z by roll.

    Angles are in degrees, shape (batch, 1); the matrices have shape (batch, 3, 3), float32.
    """
    angles = torch.cat([pitch, yaw, roll], dim=1).float().deg2rad()
    (cx, cy, cz), (sx, sy, sz) = angles.cos().unbind(dim=1), angles.sin().unbind(dim=1)
    rows = [
        [cy * cz, cy * sz, -sy],
        [sx * sy * cz - cx * sz, sx * sy * sz + cx * cz, sx * cy],
        [cx * sy * cz + sx * sz, cx * sy * sz - sx * cz, cx * cy],
    ]
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def pose_keypoints(
    canonical: Tensor, rotation: Tensor, expression: Tensor, scale: Tensor, translation: Tensor
) -> Tensor:
    """Apply pose and expression to canonical keypoints; batches broadcast.

    Args:
        canonical: canonical keypoints, shape (batch, keypoints, 3).
        rotation: rotation matrices from `head_rotation`, shape (batch, 3, 3).
        expression: displacement of each keypoint, shape (batch, keypoints, 3).
        scale: scale of the head, shape (batch, 1).
        translation: translation of the head, shape (batch, 3); z has no effect.

    Returns:
        Keypoints, shape (batch, keypoints, 3), float32.
    """
    with full_precision(canonical):
        keypoints = scale[:, :, None] * (canonical @ rotation + expression)
    return keypoints + F.pad(translation[:, None, :2], (0, 1))


def transform_keypoints(info: KeypointInfo) -> Tensor:
    """Compute the keypoints of portraits in their own pose and expression, shape (batch, keypoints, 3)."""
    return pose_keypoints(info.canonical, info.rotation, info.expression, info.scale, info.translation)


def check_keypoint_count(in_motion: int, n_keypoints: int) -> None:
    """Check that a motion has as many keypoints as the models.

    Raises:
        InputError: `keypoints_mismatch`.
    """
    if in_motion != n_keypoints:
        raise InputError(
            "keypoints_mismatch",
            f"motion: found {in_motion} keypoints; expected the portrait's {n_keypoints}: "
            "use portrait and motion from models with the same keypoints",
        )


def stitch_keypoints(network: nn.Module, source: Tensor, driving: Tensor) -> Tensor:
    """Correct driving keypoints, (batch, keypoints, 3), so that the face fits the shoulders of the source.

    `network` is `stitching`; the source keypoints have shape (batch or 1, keypoints, 3).
    """
    with full_precision(driving):
        delta = network(torch.cat([source.expand_as(driving).flatten(1), driving.flatten(1)], dim=1))
    shift = F.pad(delta[:, None, -2:], (0, 1))  # in x and y, the same for all keypoints
    return driving + delta[:, :-2].unflatten(1, (-1, 3)) + shift


def retargeting_delta(network: nn.Module, keypoints: Tensor, ratios: Tensor) -> Tensor:
    """Compute the displacement of keypoints that opens or closes lips or eyes to a target ratio.

    Args:
        network: network `lip` or `eye`.
        keypoints: source keypoints, shape (batch, keypoints, 3).
        ratios: height / width of the opening: source and target for lips, shape (batch, 2); left and
            right of the source and target for eyes, shape (batch, 3).

    Returns:
        Displacement of the keypoints, shape (batch, keypoints, 3).
    """
    with full_precision(keypoints):
        return network(torch.cat([keypoints.flatten(1), ratios], dim=1)).unflatten(1, (-1, 3))


def motion_multiplier(source_keypoints: Tensor, first_keypoints: Tensor) -> float:
    """Compute the ratio of the size of the portrait's face to that of the driving face.

    As in JoyVASA, the size is the square root of the volume of the convex hull of the keypoints.

    Args:
        source_keypoints: keypoints of the portrait, shape (1, keypoints, 3).
        first_keypoints: keypoints of the first frame of the motion, shape (1, keypoints, 3).

    Returns:
        The ratio of the sizes; 1 if one of the hulls is flat (fewer than four keypoints, or all in one plane).

    Raises:
        ModelError: `keypoints_not_finite`.
    """
    source, first = _hull_volume(source_keypoints), _hull_volume(first_keypoints)
    return math.sqrt(source) / math.sqrt(first) if source and first else 1.0


def _hull_volume(keypoints: Tensor) -> float:
    """Return the volume of the convex hull of keypoints (1, keypoints, 3); 0 if it is flat."""
    points = keypoints[0].double().cpu().numpy()
    if not np.isfinite(points).all():
        raise ModelError(
            "keypoints_not_finite",
            "keypoints: found NaN or infinity; expected finite coordinates: "
            "check the picture, and the weights of the motion extractor",
        )
    volume = convex_hull_volume(points)
    # The hull of a plane that is not parallel to an axis has a small volume due to float32 rounding.
    return volume if volume > FLAT_VOLUME * np.ptp(points, axis=0).max() ** 3 else 0.0
